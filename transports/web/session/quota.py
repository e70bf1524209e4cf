"""Reads what is left of an account's quotas and when they reset. Source: "Batch calls", `qpEbW`."""

from typing import Any

import structlog

from protocol.model import GatewayError
from transports.account import Quota
from transports.clock import Clock
from transports.web import wire
from transports.web.codec import jspb
from transports.web.codec.models import Family
from transports.web.session.page import AppPage
from transports.web.session.session import Ready, Session

_LONGEST_SECONDS = 86400.0
"""Longest cooldown from a reset time, in case a clock is wrong."""

_log = structlog.get_logger()


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


def decode_quotas(payload: Any, asked: str) -> tuple[Quota, ...]:
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
        name = asked if asked == Family.PRO else wire.QUOTA_FAMILIES.get(identity, asked)
        quota = Quota(name=name, family=name, total=total, left=left, reset=jspb.seconds(limit, *wire.LIMIT_RESET))
        if name not in found or _rank(quota) > _rank(found[name]):
            found[name] = quota
    return tuple(found.values())


def _rank(quota: Quota) -> tuple[bool, int]:
    return quota.unlimited, quota.left


async def seconds_to_reset(session: Session, ready: Ready, family: str, clock: Clock) -> float | None:
    """Return the seconds until a family's limits reset, or None if the site names no time; note the quotas."""
    payload = await _fetch(session, ready.page, family)
    reset = decode_reset(payload)
    return None if reset is None else min(_LONGEST_SECONDS, max(1.0, reset - clock.wall()))


def due(session: Session, clock: Clock) -> bool:
    """Return whether the account's quotas are due for a refresh."""
    seconds, asked_at = session.site.config.quota_seconds, session.asked_quotas_at
    known = session.current is not None and session.site.session_store is not None
    return known and bool(seconds) and (asked_at is None or clock.monotonic() - asked_at >= seconds)


async def refresh_if_due(session: Session, clock: Clock) -> None:
    """Refresh all quotas if due."""
    if session.current is not None and due(session, clock):
        await refresh(session, session.current.page, clock)


async def refresh(session: Session, page: AppPage, clock: Clock) -> None:
    """Fetch and note all quotas."""
    session.asked_quotas_at = clock.monotonic()
    await session.ask_usage(page)
    for family in (Family.FLASH, Family.PRO):
        await _fetch(session, page, family)


async def _fetch(session: Session, page: AppPage, family: str) -> Any:
    """Fetch and note a family's quotas; return the payload, or None if the call failed."""
    try:
        answers = await session.site.batch(page, (wire.RPC_QUOTA, payload_of(family)))
    except GatewayError as error:
        _log.info("quota_fetch_failed", account=session.name, error=type(error).__name__)
        return None
    payload = answers.get(wire.RPC_QUOTA)
    session.note_quotas(decode_quotas(payload, family))
    return payload
