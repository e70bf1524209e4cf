"""What can go wrong, by whose fault it is.

GatewayError
├── BadRequest       the caller's words are wrong                    (caller)
│   └── Unsupported  right words, but not for this model             (caller)
├── ModelUnknown     no such model                                   (caller)
├── Unauthorized     no license                                      (caller)
├── Forbidden        a license that does not cover it                (caller)
├── Refused          the model declines, for safety                  (model)
├── RateLimited      the account has used up its share               (account)
│   └── Throttled    … or is asked too often                         (account)
├── SignedOut        the account's credential no longer works        (account)
├── Blocked          our address is not welcome                      (egress)
├── UpstreamFailed   the upstream broke                              (upstream)
│   ├── UpstreamTimeout  … or took too long                          (upstream)
│   ├── ModelDowngraded  … or answers with another model             (upstream)
│   └── DriftDetected    … or changed its language                   (upstream)
└── Saturated        no room here                                    (us)

Rotation and the client's status both read the class; nothing reads the message.
"""

from enum import Enum
from typing import TypeVar, cast


class Certainty(Enum):
    """What is known of whether the upstream began the work (decides whether it may be asked again)."""

    NOT_SENT = "not_sent"
    """It never got the request: ask anyone again."""
    REFUSED = "refused"
    """It said no before starting: ask another account."""
    MAYBE_ACCEPTED = "maybe_accepted"
    """It may be working: ask again only where doing it twice is harmless."""


class GatewayError(Exception):
    """Base of all errors that a request can end with; `code` is a word of the public vocabulary."""

    code = "internal_error"
    certainty = Certainty.REFUSED

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        certainty: Certainty | None = None,
    ) -> None:
        """Take a message fit for the client: no secret, no upstream text."""
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if certainty is not None:
            self.certainty = certainty


ErrorT = TypeVar("ErrorT", bound=BaseException)


def released(error: ErrorT) -> ErrorT:
    """Return an error without the frames that it and its causes hold.

    An error that has been handled keeps the frames of its traceback alive, and with them the request's body. A frame
    that holds the error in turn makes a cycle, which only the garbage collector would free. Call this wherever an
    error is turned into an answer or kept.
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
    """The request cannot be understood or carried; `param` is the path of the field, as `messages[0].content`."""

    code = "invalid_value"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        """Name the field at fault in `param` where there is one."""
        super().__init__(message, code=code)
        self.param = param


class Unsupported(BadRequest):
    """Well-formed, but this model (or what carries it) cannot do it; another transport might."""

    code = "unsupported_value"


class ModelUnknown(GatewayError):
    """No model of that name; the message says what is possible."""

    code = "model_not_found"


class Unauthorized(GatewayError):
    """The caller is not known."""

    code = "invalid_api_key"
    certainty = Certainty.NOT_SENT


class Forbidden(GatewayError):
    """The caller is known, and may not."""

    code = "model_not_allowed"
    certainty = Certainty.NOT_SENT


class Refused(GatewayError):
    """The model declines the prompt."""

    code = "content_filter"


class RateLimited(GatewayError):
    """The account's allowance is used up; `retry_after` is in seconds, None where the upstream did not say."""

    code = "upstream_quota_exhausted"

    def __init__(self, message: str, *, retry_after: float | None = None, code: str | None = None) -> None:
        """Take the seconds until it is worth trying again."""
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Throttled(RateLimited):
    """The account is asked too often; it passes soon, and its allowance is another matter."""

    code = "rate_limit_exceeded"


class SignedOut(GatewayError):
    """The account needs a person; `reason` is a short word for operators (signed_out, consent, challenge, …)."""

    code = "no_account_available"

    def __init__(self, message: str, *, reason: str = "signed_out", words: str = "") -> None:
        """Say in `reason` what the operator has to act on, and in `words`, a sentence, how."""
        super().__init__(message)
        self.reason, self.words = reason, words


class Blocked(GatewayError):
    """The upstream refuses our address, whatever the account; `retry_after` is in seconds, None where not known."""

    code = "no_account_available"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Take the seconds until it is worth trying again."""
        super().__init__(message)
        self.retry_after = retry_after


class UpstreamFailed(GatewayError):
    """The upstream answered wrongly, or stopped answering."""

    code = "upstream_protocol_error"
    certainty = Certainty.MAYBE_ACCEPTED


class UpstreamTimeout(UpstreamFailed):
    """A deadline passed while waiting for the upstream."""

    code = "upstream_timeout"


class ModelDowngraded(UpstreamFailed):
    """The upstream answers with a model of another family than it was asked for, and the settings refuse that."""

    code = "upstream_model_mismatch"
    certainty = Certainty.REFUSED

    def __init__(self, message: str, *, asked: str, answered: str) -> None:
        """Take the families that were asked for and answered with."""
        super().__init__(message)
        self.asked, self.answered = asked, answered


class DriftDetected(UpstreamFailed):
    """The upstream's answer has a form that we do not know: the site changed."""


class Saturated(GatewayError):
    """We have no capacity now; `retry_after` is in seconds."""

    code = "overloaded"
    certainty = Certainty.NOT_SENT

    def __init__(self, message: str, *, retry_after: float = 1.0, code: str | None = None) -> None:
        """Take the seconds until it is worth trying again."""
        super().__init__(message, code=code)
        self.retry_after = retry_after
