"""What is left of an account in its windows of time, and its plan: the answer of `jSf9Qc`; no I/O.

Source: "Batch calls"
"""

from collections.abc import Iterable
from typing import Any

from transports.account import Quota
from transports.web import jspb, wire

_WHOLE = 100
"""The total of a window that is used up from the start: then nothing tells how much it held."""


def decode_plan(payload: Any) -> str | None:
    """Return the account's plan; None where the answer tells none that is known."""
    tier = jspb.count(payload, wire.USAGE_TIER)
    return wire.USAGE_TIERS.get(tier) if tier is not None else None


def decode_windows(payload: Any, known: Iterable[Quota] = ()) -> tuple[Quota, ...]:
    """Return what is left in each window, named by its length; `known` is what was told before.

    The answer tells what is left and which part is used, so the total is worked out. When all is used, that is not
    possible: then the total is the one known before, or 100.
    """
    totals = {quota.name: quota.total for quota in known}
    found: dict[str, Quota] = {}
    for window in jspb.array(payload, wire.USAGE_WINDOWS):
        kind = jspb.count(window, wire.WINDOW_KIND)
        name = wire.WINDOW_KINDS.get(kind) if kind is not None else None
        left = jspb.count(window, wire.WINDOW_REMAINING)
        if name is None or left is None:
            continue
        total = _total(left, jspb.number(window, wire.WINDOW_USED)) or totals.get(name) or _WHOLE
        quota = Quota(name=name, total=max(total, left), left=left, reset=_reset(window))
        if name not in found or left > found[name].left:
            found[name] = quota
    return tuple(found.values())


def _total(left: int, used: float | None) -> int | None:
    if used is None or not 0 <= used < 1 or not left:
        return None
    return round(left / (1 - used))


def _reset(window: Any) -> int | None:
    for place in wire.WINDOW_RESETS:
        found = jspb.seconds(window, *place, 0) or jspb.seconds(window, *place)
        if found is not None:
            return found
    return None
