"""The errors that a request can end with, by their cause.

GatewayError
├── BadRequest       the request is malformed                        (caller)
│   └── Unsupported  the model cannot do what is requested           (caller)
├── ModelUnknown     the model does not exist                        (caller)
├── Unauthorized     the license key is missing or unknown           (caller)
├── Forbidden        the license does not cover the request          (caller)
├── Refused          the model declines the prompt                   (model)
├── RateLimited      the account's quota is used up                  (account)
│   ├── Throttled    the account sends requests too fast             (account)
│   └── NotIncluded  the account never has the model                 (account)
├── SignedOut        the account's credential no longer works        (account)
├── Blocked          the upstream refuses our IP address             (egress)
├── UpstreamFailed   the upstream failed                             (upstream)
│   ├── Disconnected     the connection failed or broke              (egress)
│   ├── UpstreamTimeout  the upstream took too long                  (upstream)
│   ├── Overloaded       the model has no capacity                   (upstream)
│   ├── MediaUnavailable a file of an earlier answer is out of reach (upstream)
│   ├── ModelDowngraded  another model answered                      (upstream)
│   └── DriftDetected    the answer has an unknown format            (upstream)
└── Saturated        the gateway has no capacity                     (gateway)

Failover and the HTTP status depend on the class of an error, never on its message.
"""

from enum import Enum
from typing import TypeVar, cast

from protocol.model.usage_counts import Usage


class Certainty(Enum):
    """Whether the upstream may have begun the work, which decides whether the request may be retried."""

    NOT_SENT = "not_sent"
    """The upstream never got the request: any account may be asked."""
    REFUSED = "refused"
    """The upstream refused before it began: another account may be asked."""
    MAYBE_ACCEPTED = "maybe_accepted"
    """The upstream may be working on it: retry only if doing it twice is harmless."""


class GatewayError(Exception):
    """Base class of all errors that a request can end with; `code` is the error code that clients see."""

    code = "internal_error"
    certainty = Certainty.REFUSED
    transport = ""
    """The transport whose upstream gave the error; empty: the gateway itself."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        certainty: Certainty | None = None,
    ) -> None:
        """Set the message that the client sees: it holds no secret and no text of the upstream."""
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if certainty is not None:
            self.certainty = certainty


ErrorT = TypeVar("ErrorT", bound=BaseException)


def released(error: ErrorT) -> ErrorT:
    """Return an error after dropping the tracebacks of it and its causes.

    An error that has been handled keeps the frames of its traceback alive, and with them the request's body. A frame
    that holds the error in turn makes a cycle, which only the garbage collector would free. Call this wherever an
    error is stored or turned into a response.
    """
    chain: list[BaseException] = [error]
    while chain:
        one = chain.pop()
        one.__traceback__ = None
        chain += [linked for linked in (one.__cause__, one.__context__) if linked is not None]
        if isinstance(one, BaseExceptionGroup):
            chain += cast("BaseExceptionGroup[BaseException]", one).exceptions
    return error


class BadRequest(GatewayError):
    """The request is malformed; `param` is the path of the field at fault, such as `messages[0].content`."""

    code = "invalid_value"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        """Set the field at fault in `param`, if there is one."""
        super().__init__(message, code=code)
        self.param = param


class RequestTooLarge(BadRequest):
    """The request is longer than the upstream accepts."""

    code = "request_too_large"


class Unsupported(BadRequest):
    """The request is well-formed, but the model or transport cannot do it. Another transport might."""

    code = "unsupported_value"
    of_account = False
    """Whether it is the account that lacks something: another one might have it."""


class ModelUnknown(GatewayError):
    """The model does not exist; the message lists the known models."""

    code = "model_not_found"


class Unauthorized(GatewayError):
    """The license key is missing or unknown."""

    code = "invalid_api_key"
    certainty = Certainty.NOT_SENT


class Forbidden(GatewayError):
    """The license does not cover the request."""

    code = "model_not_allowed"
    certainty = Certainty.NOT_SENT


class Refused(GatewayError):
    """The model declines the prompt."""

    code = "content_filter"

    def __init__(self, message: str, *, reason: str = "", withheld: bool = False, usage: Usage | None = None) -> None:
        """Set what the upstream says of it.

        Its name of the reason, if it has one; whether it is an answer that is withheld; the tokens that it counts.
        """
        super().__init__(message)
        self.reason, self.withheld, self.usage = reason, withheld, usage


class RateLimited(GatewayError):
    """The account's quota is used up; `retry_after` is in seconds, None if the upstream did not say."""

    code = "upstream_quota_exhausted"

    def __init__(self, message: str, *, retry_after: float | None = None, code: str | None = None) -> None:
        """Set the seconds until a retry makes sense."""
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Throttled(RateLimited):
    """The account sends requests too fast. This passes soon and does not concern its quota."""

    code = "rate_limit_exceeded"


class NotIncluded(RateLimited):
    """The account's quota for the model is 0: it never has it. `retry_after` says when to ask once more."""


class SignedOut(GatewayError):
    """The account needs attention; `reason` is a code for operators (signed_out, consent, challenge, …)."""

    code = "no_account_available"

    def __init__(self, message: str, *, reason: str = "signed_out", advice: str = "") -> None:
        """Set the code of the problem in `reason`, and a sentence that says how to fix it in `advice`."""
        super().__init__(message)
        self.reason, self.advice = reason, advice


class Blocked(GatewayError):
    """The upstream refuses our IP address for every account; `retry_after` is in seconds, None if unknown."""

    code = "no_account_available"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Set the seconds until a retry makes sense."""
        super().__init__(message)
        self.retry_after = retry_after


class UpstreamFailed(GatewayError):
    """The upstream failed or stopped answering."""

    code = "upstream_protocol_error"
    certainty = Certainty.MAYBE_ACCEPTED


class Disconnected(UpstreamFailed):
    """No connection to the upstream was made, or it broke."""

    code = "upstream_reset"

    def __init__(
        self, message: str, *, problem: str = "", code: str | None = None, certainty: Certainty | None = None
    ) -> None:
        """Set what is wrong with the account's proxy in `problem`, for the operator only; empty: nothing known."""
        super().__init__(message, code=code, certainty=certainty)
        self.problem = problem


class UpstreamTimeout(UpstreamFailed):
    """A timeout expired while waiting for the upstream."""

    code = "upstream_timeout"


class Overloaded(UpstreamFailed):
    """The model has no capacity now, whichever account asks; `retry_after` is in seconds."""

    code = "upstream_overloaded"
    certainty = Certainty.REFUSED

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Set the seconds until a retry makes sense."""
        super().__init__(message)
        self.retry_after = retry_after


class MediaUnavailable(UpstreamFailed):
    """A file of an earlier answer cannot be fetched now from the account that has it, so nothing was sent."""

    code = "upstream_rejected"
    certainty = Certainty.NOT_SENT


class ModelDowngraded(UpstreamFailed):
    """A model of another family than the requested one answered, and the settings refuse that."""

    code = "upstream_model_mismatch"
    certainty = Certainty.REFUSED

    def __init__(self, message: str, *, requested: str, answered: str) -> None:
        """Set the family that was requested and the one that answered."""
        super().__init__(message)
        self.requested, self.answered = requested, answered


class DriftDetected(UpstreamFailed):
    """The upstream's answer has an unknown format: the site has changed."""


class Saturated(GatewayError):
    """The gateway has no capacity now; `retry_after` is in seconds."""

    code = "overloaded"
    certainty = Certainty.NOT_SENT

    def __init__(self, message: str, *, retry_after: float = 1.0, code: str | None = None) -> None:
        """Set the seconds until a retry makes sense."""
        super().__init__(message, code=code)
        self.retry_after = retry_after
