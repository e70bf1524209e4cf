"""What a failure means for the account, and whether another may be asked; pure. Source: reliability 6.4."""

from enum import Enum

import msgspec

from protocol.model import (
    BadRequest,
    Blocked,
    Certainty,
    GatewayError,
    ModelUnknown,
    RateLimited,
    Refused,
    Saturated,
    SignedOut,
    Unsupported,
)

_LIMIT_SECONDS = 3600.0
_LONGEST_LIMIT = 6 * 3600.0
_BLOCKED_SECONDS = 600.0
_LONGEST_TOLD = 24 * 3600.0


class Next(Enum):
    """Whether another account may be asked."""

    GIVE_UP = "give_up"
    ANOTHER = "another"
    ONCE = "once"
    """One more, since this one may have been at work."""
    ANOTHER_TRANSPORT = "another_transport"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about a failure."""

    next: Next
    rest: float = 0.0
    """Seconds for the account to rest, for what was wanted of it."""
    egress: bool = False
    """Every account of the transport rests, for everything: our address is at fault."""
    park: str = ""
    """The reason to park it for a person; empty: do not."""


def judge(error: GatewayError, failures: int) -> Verdict:
    """Judge an error; `failures` in a row make rests longer."""
    match error:
        case Unsupported():
            return Verdict(next=Next.ANOTHER_TRANSPORT)
        case BadRequest() | ModelUnknown() | Refused() | Saturated():
            return Verdict(next=Next.GIVE_UP)
        case RateLimited():
            return Verdict(next=Next.ANOTHER, rest=_limit(error.retry_after, failures))
        case SignedOut():
            return Verdict(next=Next.ANOTHER, park=error.reason)
        case Blocked():
            return Verdict(next=Next.GIVE_UP, rest=_BLOCKED_SECONDS, egress=True)
        case _:
            return Verdict(next=Next.ONCE if error.certainty is Certainty.MAYBE_ACCEPTED else Next.ANOTHER)


def _limit(told: float | None, failures: int) -> float:
    if told is not None:
        return min(told, _LONGEST_TOLD)
    return min(_LONGEST_LIMIT, _LIMIT_SECONDS * 2 ** min(failures, 10))
