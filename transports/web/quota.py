"""When a used-up limit is reset, in the site's words. Source: "Batch calls", `qpEbW`."""

from typing import Any

import structlog

from protocol.model import Family, GatewayError
from transports.clock import Clock
from transports.web import jspb, wire
from transports.web.session import Ready, Session

_LONGEST_SECONDS = 86400.0
"""A clock that is wrong, ours or theirs, shall not let an account rest for longer."""

_log = structlog.get_logger()


def payload_of(family: Family) -> str:
    """Return the payload that asks for the limits of a family of models."""
    return wire.QUOTA_PAYLOAD_PRO if family is Family.PRO else wire.QUOTA_PAYLOAD_FLASH


def decode_reset(payload: Any) -> int | None:
    """Return the epoch second at which all limits that are used up are reset; None where none is, or none tells."""
    resets = [
        reset
        for limit in jspb.array(payload, wire.QUOTA_LIMITS)
        if jspb.integer(limit, wire.LIMIT_REMAINING) == 0
        and (reset := jspb.integer(limit, *wire.LIMIT_RESET)) is not None
    ]
    return max(resets, default=None)


async def seconds_to_reset(session: Session, ready: Ready, family: Family, clock: Clock) -> float | None:
    """Ask when an account may be asked again; None where the site does not tell."""
    try:
        answers = await session.site.batch(ready.page, (wire.RPC_QUOTA, payload_of(family)))
    except GatewayError as error:
        _log.info("quota_unknown", account=session.name, error=type(error).__name__)
        return None
    reset = decode_reset(answers.get(wire.RPC_QUOTA))
    return None if reset is None else min(_LONGEST_SECONDS, max(1.0, reset - clock.wall()))
