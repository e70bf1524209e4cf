"""Decides what follows an upstream error: a cooldown or attention for the account, and which retry is allowed. No I/O.

Example: a 429 without `Retry-After` is `RateLimited`. The account's first cooldown for the model family is an hour, the
next ones two and four, at most six; another account is asked meanwhile. Source: reliability 2.4.
"""

from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.model import (
    BadRequest,
    Blocked,
    Certainty,
    Disconnected,
    GatewayError,
    ModelUnknown,
    RateLimited,
    Refused,
    Saturated,
    SignedOut,
    Throttled,
    Unsupported,
    UpstreamTimeout,
)
from transports.accounts.egress import PROXY_SECONDS, problem_of_proxy

_LIMIT_SECONDS = 3600.0
_LONGEST_LIMIT = 6 * 3600.0
_THROTTLED_SECONDS = 60.0
_LONGEST_THROTTLED = 1800.0
_LEAST_SECONDS = 1.0
_BLOCKED_SECONDS = 600.0
_LONGEST_RETRY_AFTER = 24 * 3600.0
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]


class FailoverPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Retries of a request with other accounts."""

    attempts: Count = 3
    """Maximum number of accounts that are asked for one request."""
    retry_budget: Share = 0.2
    """Maximum share of retries among the requests in flight."""
    min_retry_concurrency: Annotated[int, Meta(ge=0)] = 3
    """Number of concurrent retries that are always allowed."""


class NextStep(Enum):
    """What to do with the request."""

    FAIL = "fail"
    OTHER_ACCOUNT = "other_account"
    RETRY_ONCE = "retry_once"
    """Retry with one other account only, because the upstream may have accepted the request."""
    OTHER_EGRESS = "other_egress"
    """Ask an account with another way out: the upstream has got nothing, so this is not limited as retries are."""
    OTHER_TRANSPORT = "other_transport"


class RetryDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do after an upstream error."""

    next: NextStep
    cooldown: float = 0.0
    """Seconds of cooldown of the account; after `Blocked` and with `OTHER_EGRESS`, of all with the same proxy."""
    attention: str = ""
    """Reason why the account needs attention; empty: it does not."""
    message: str = ""
    """Advice for the operator."""

    @property
    def label(self) -> str:
        """Label for metrics: `needs_attention`, `cooldown`, or the value of `next`."""
        if self.attention:
            return "needs_attention"
        return "cooldown" if self.cooldown else self.next.value


def decide(error: GatewayError, failures: int, *, jitter: float = 1.0, proxied: bool = False) -> RetryDecision:
    """Decide what follows an error: `failures` in a row lengthen cooldowns, `jitter` (0 to 1) spreads short ones.

    `proxied` accounts have a proxy: if nothing was sent because of the connection, that proxy is at fault.
    """
    match error:
        case Disconnected() | UpstreamTimeout() if proxied and error.certainty is Certainty.NOT_SENT:
            problem = problem_of_proxy(error)
            return RetryDecision(next=NextStep.OTHER_EGRESS, cooldown=PROXY_SECONDS, message=problem)
        case Unsupported():
            return RetryDecision(next=NextStep.OTHER_ACCOUNT if error.of_account else NextStep.OTHER_TRANSPORT)
        case BadRequest() | ModelUnknown() | Refused() | Saturated():
            return RetryDecision(next=NextStep.FAIL)
        case RateLimited() | Blocked():
            return RetryDecision(next=NextStep.OTHER_ACCOUNT, cooldown=_cooldown_seconds(error, failures, jitter))
        case SignedOut():
            advice = error.advice or error.message
            return RetryDecision(next=NextStep.OTHER_ACCOUNT, attention=error.reason, message=advice)
        case _:
            return RetryDecision(
                next=NextStep.RETRY_ONCE if error.certainty is Certainty.MAYBE_ACCEPTED else NextStep.OTHER_ACCOUNT
            )


def _cooldown_seconds(error: RateLimited | Blocked, failures: int, jitter: float) -> float:
    if isinstance(error, Blocked):
        return _BLOCKED_SECONDS
    if error.retry_after is not None:
        return min(error.retry_after, _LONGEST_RETRY_AFTER)
    if isinstance(error, Throttled):
        return max(_LEAST_SECONDS, jitter * _doubled(_THROTTLED_SECONDS, failures, _LONGEST_THROTTLED))
    return _doubled(_LIMIT_SECONDS, failures, _LONGEST_LIMIT)


def _doubled(seconds: float, failures: int, longest: float) -> float:
    return min(longest, seconds * 2 ** min(failures, 10))
