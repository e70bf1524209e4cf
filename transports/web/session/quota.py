"""Reads what is left of an account's quotas and when they reset. Source: "Batch calls", `qpEbW`."""

from collections.abc import Iterable
from typing import Any

from transports.account import Quota
from transports.web import wire
from transports.web.codec import jspb
from transports.web.codec.models import Family


def payload_of(family: str) -> str:
    """Return the payload that asks for the limits of a family of models."""
    return wire.QUOTA_PAYLOAD_PRO if family == Family.PRO else wire.QUOTA_PAYLOAD_FLASH


def decode_reset(payload: Any) -> int | None:
    """Return the epoch second at which all limits that are used up are reset.

    None if no limit is used up, or none of these names its reset. A total of 0 means no limit.
    """
    resets = [
        reset
        for limit in jspb.array(payload, wire.QUOTA_LIMITS)
        if jspb.count(limit, wire.LIMIT_REMAINING) == 0 and jspb.count(limit, wire.LIMIT_TOTAL) != 0
        if (reset := jspb.seconds(limit, *wire.LIMIT_RESET)) is not None
    ]
    return max(resets, default=None)


def decode_quotas(payload: Any, account: str) -> tuple[Quota, ...]:
    """Return the quotas by family from an answer to `payload_of(asked)`.

    A family may have several limits, and the answer does not say which of them binds. The most generous one is
    returned, so that a family that still answers never counts as used up.
    """
    found: dict[str, Quota] = {}
    for limit in jspb.array(payload, wire.QUOTA_LIMITS):
        total, left = jspb.count(limit, wire.LIMIT_TOTAL), jspb.count(limit, wire.LIMIT_REMAINING)
        if total is None or left is None:
            continue
        identity = (jspb.count(limit, wire.LIMIT_ID, 0), jspb.count(limit, wire.LIMIT_ID, 1))
        name = account if account == Family.PRO else wire.QUOTA_FAMILIES.get(identity, account)
        quota = Quota(
            name=name, family=name, total=total, remaining=left, resets_at=jspb.seconds(limit, *wire.LIMIT_RESET)
        )
        if name not in found or _rank(quota) > _rank(found[name]):
            found[name] = quota
    return tuple(found.values())


def _rank(quota: Quota) -> tuple[bool, int]:
    return quota.unlimited, quota.remaining


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
        used = jspb.number(window, wire.WINDOW_USED)
        known_ratio = used is not None and 0 <= used < 1 and left
        total = (round(left / (1 - used)) if used is not None and known_ratio else 0) or totals.get(name) or _WHOLE
        resets = (jspb.seconds(window, *path, 0) or jspb.seconds(window, *path) for path in wire.WINDOW_RESETS)
        reset = next((reset for reset in resets if reset is not None), None)
        quota = Quota(name=name, total=max(total, left), remaining=left, resets_at=reset)
        if name not in found or left > found[name].remaining:
            found[name] = quota
    return tuple(found.values())
