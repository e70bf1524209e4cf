"""Reads an account's plan and its usage windows from the answer of `jSf9Qc`; no I/O.

Source: "Batch calls"
"""

from collections.abc import Iterable
from typing import Any

from transports.account import Quota
from transports.web import wire
from transports.web.codec import jspb

_WHOLE = 100
"""The total of a window that is used up when it is first seen: its real total is unknown."""


def decode_plan(payload: Any) -> str | None:
    """Return the account's plan; None if the answer names no known one."""
    tier = jspb.count(payload, wire.USAGE_TIER)
    return wire.USAGE_TIERS.get(tier) if tier is not None else None


def decode_windows(payload: Any, known: Iterable[Quota] = ()) -> tuple[Quota, ...]:
    """Return the quota of each window, named by its length; `known` are the quotas read before.

    The total is computed from what remains and the used ratio. A window that is used up has the total that was known
    before, or 100.
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
