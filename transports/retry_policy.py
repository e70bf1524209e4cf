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
    Throttled,
    Unsupported,
)

_LIMIT_SECONDS = 3600.0
_LONGEST_LIMIT = 6 * 3600.0
_THROTTLED_SECONDS = 60.0
_LONGEST_THROTTLED = 1800.0
_LEAST_SECONDS = 1.0
_BLOCKED_SECONDS = 600.0
_LONGEST_TOLD = 24 * 3600.0


class NextStep(Enum):
    """Whether another account may be asked."""

    GIVE_UP = "give_up"
    ANOTHER = "another"
    ONCE = "once"
    """One more, since this one may have been at work."""
    ANOTHER_TRANSPORT = "another_transport"


class RetryDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about a failure."""

    next: NextStep
    cooldown: float = 0.0
    """Seconds for the account to rest from what was wanted of it; if it was `Blocked`, for all on the same way out."""
    attention: str = ""
    """The reason to park it for a person; empty: do not."""
    message: str = ""
    """What that person should know and do."""

    @property
    def label(self) -> str:
        """What it says, in one of few words: park, rest, or as `next`."""
        if self.attention:
            return "needs_attention"
        return "cooldown" if self.cooldown else self.next.value


def decide(error: GatewayError, failures: int, *, jitter: float = 1.0) -> RetryDecision:
    """Decide what follows an error: `failures` in a row lengthen cooldowns, `jitter` (0 to 1) spreads short ones."""
    match error:
        case Unsupported():
            return RetryDecision(next=NextStep.ANOTHER_TRANSPORT)
        case BadRequest() | ModelUnknown() | Refused() | Saturated():
            return RetryDecision(next=NextStep.GIVE_UP)
        case RateLimited():
            return RetryDecision(next=NextStep.ANOTHER, cooldown=_cooldown_seconds(error, failures, jitter))
        case SignedOut():
            return RetryDecision(next=NextStep.ANOTHER, attention=error.reason, message=error.advice or error.message)
        case Blocked():
            return RetryDecision(next=NextStep.ANOTHER, cooldown=_BLOCKED_SECONDS)
        case _:
            return RetryDecision(
                next=NextStep.ONCE if error.certainty is Certainty.MAYBE_ACCEPTED else NextStep.ANOTHER
            )


def _cooldown_seconds(error: RateLimited, failures: int, jitter: float) -> float:
    if error.retry_after is not None:
        return min(error.retry_after, _LONGEST_TOLD)
    if isinstance(error, Throttled):
        return max(_LEAST_SECONDS, jitter * _doubled(_THROTTLED_SECONDS, failures, _LONGEST_THROTTLED))
    return _doubled(_LIMIT_SECONDS, failures, _LONGEST_LIMIT)


def _doubled(seconds: float, failures: int, longest: float) -> float:
    return min(longest, seconds * 2 ** min(failures, 10))
