"""What is left of an account's limits and when they start anew, in the site's words. Source: "Batch calls", `qpEbW`."""

from typing import Any

import structlog

from protocol.model import Family, GatewayError
from transports.account import Quota
from transports.clock import Clock
from transports.web import wire
from transports.web.codec import jspb
from transports.web.session.page import AppPage
from transports.web.session.session import Ready, Session

_LONGEST_SECONDS = 86400.0
"""A clock that is wrong, ours or theirs, shall not let an account rest for longer."""

_log = structlog.get_logger()


def payload_of(family: Family) -> str:
    """Return the payload that asks for the limits of a family of models."""
    return wire.QUOTA_PAYLOAD_PRO if family is Family.PRO else wire.QUOTA_PAYLOAD_FLASH


def decode_reset(payload: Any) -> int | None:
    """Return the epoch second at which all limits that are used up are reset.

    None where no limit is used up, or none of those tells. A total of 0 is no limit at all.
    """
    resets = [
        reset
        for limit in jspb.array(payload, wire.QUOTA_LIMITS)
        if jspb.count(limit, wire.LIMIT_REMAINING) == 0 and jspb.count(limit, wire.LIMIT_TOTAL) != 0
        if (reset := jspb.seconds(limit, *wire.LIMIT_RESET)) is not None
    ]
    return max(resets, default=None)


def decode_quotas(payload: Any, asked: Family) -> tuple[Quota, ...]:
    """Return what is left by family, of an answer to `payload_of(asked)`.

    A family may have several limits, and the answer does not say which of them binds. The most generous one is
    returned, so that a family that still answers is never taken for used up.
    """
    found: dict[str, Quota] = {}
    for limit in jspb.array(payload, wire.QUOTA_LIMITS):
        total, left = jspb.count(limit, wire.LIMIT_TOTAL), jspb.count(limit, wire.LIMIT_REMAINING)
        if total is None or left is None:
            continue
        name = _family_of(limit, asked)
        quota = Quota(name=name, total=total, left=left, reset=jspb.seconds(limit, *wire.LIMIT_RESET))
        if name not in found or _rank(quota) > _rank(found[name]):
            found[name] = quota
    return tuple(found.values())


def _rank(quota: Quota) -> tuple[bool, int]:
    return quota.unlimited, quota.left


def _family_of(limit: Any, asked: Family) -> str:
    identity = (jspb.count(limit, wire.LIMIT_ID, 0), jspb.count(limit, wire.LIMIT_ID, 1))
    return asked.value if asked is Family.PRO else wire.QUOTA_FAMILIES.get(identity, asked.value)


async def seconds_to_reset(session: Session, ready: Ready, family: Family, clock: Clock) -> float | None:
    """Ask when an account may be asked again, and note what is left; None where the site does not tell."""
    payload = await _fetch(session, ready.page, family)
    reset = decode_reset(payload)
    return None if reset is None else min(_LONGEST_SECONDS, max(1.0, reset - clock.wall()))


def due(session: Session, clock: Clock) -> bool:
    """Say whether it is time to ask what is left of an account's limits."""
    seconds, asked_at = session.site.config.quota_seconds, session.asked_quotas_at
    known = session.current is not None and session.site.session_store is not None
    return known and bool(seconds) and (asked_at is None or clock.monotonic() - asked_at >= seconds)


async def refresh_if_due(session: Session, clock: Clock) -> None:
    """Ask what is left of all limits, if that is due."""
    if session.current is not None and due(session, clock):
        await refresh(session, session.current.page, clock)


async def refresh(session: Session, page: AppPage, clock: Clock) -> None:
    """Ask what is left of all limits."""
    session.asked_quotas_at = clock.monotonic()
    await session.ask_usage(page)
    for family in (Family.FLASH, Family.PRO):
        await _fetch(session, page, family)


async def _fetch(session: Session, page: AppPage, family: Family) -> Any:
    """Ask for a family's limits, and note what is left; None where the site does not tell."""
    try:
        answers = await session.site.batch(page, (wire.RPC_QUOTA, payload_of(family)))
    except GatewayError as error:
        _log.info("quota_unknown", account=session.name, error=type(error).__name__)
        return None
    payload = answers.get(wire.RPC_QUOTA)
    session.note_quotas(decode_quotas(payload, family))
    return payload
