"""The site's statuses and pages as this gateway's errors; `codes` has the in-stream codes. No I/O. Source: "Codes"."""

from protocol.model import (
    BadRequest,
    Certainty,
    DriftDetected,
    GatewayError,
    SignedOut,
    Throttled,
    UpstreamFailed,
)
from transports.web import wire
from transports.web.attention_reasons import WORDS, AttentionReason

_NEEDS_A_PERSON = "The upstream's account cannot serve until its operator has attended to it."


class StaleToken(UpstreamFailed):
    """HTTP 400 that carries a good access token: keep that token and send the same call again, once.

    Source: "Codes"
    """

    code = "upstream_rejected"
    certainty = Certainty.REFUSED

    def __init__(self, message: str, token: str | None = None) -> None:
        """Hold the new token, which is a secret: neither the message nor the repr shows it."""
        super().__init__(message)
        self.token = token


class StaleBuild(UpstreamFailed):
    """HTTP 405: the build label `bl` is stale. Load the page and send the same call again, once. Source: "Codes"."""

    code = "upstream_rejected"
    certainty = Certainty.REFUSED


class RequestRejected(UpstreamFailed):
    """HTTP 400 without a token: the request itself is wrong, so the same account refuses it again. Source: "Codes"."""

    code = "upstream_rejected"
    certainty = Certainty.REFUSED


class SessionRefused(SignedOut):
    """The site does not know the session: bootstrap again, once, before a person is called."""


class ModelMismatch(UpstreamFailed):
    """1050 or 1052: the model header does not fit; discover the models again, once."""

    code = "upstream_rejected"
    certainty = Certainty.REFUSED


class Temporary(UpstreamFailed):
    """1013, 1155: a failure that passes; the same account may be asked once more."""

    code = "upstream_rejected"
    certainty = Certainty.REFUSED


def error_for_account(status: int) -> SignedOut | None:
    """Return why an account cannot serve at all, None where it can (`otAQ7b` field 14).

    One that the site does not trust for some features (1033) counts as available: it serves the others.
    """
    reasons = {
        wire.STATUS_UNAVAILABLE: AttentionReason.UNAVAILABLE,
        wire.STATUS_SIGNED_OUT: AttentionReason.SIGNED_OUT,
        wire.STATUS_REJECTED: AttentionReason.REJECTED,
        **dict.fromkeys(wire.STATUS_TERMS, AttentionReason.TERMS),
        **dict.fromkeys(wire.STATUS_GUARDIAN, AttentionReason.GUARDIAN),
        wire.STATUS_LOCATION: AttentionReason.LOCATION,
    }
    reason = reasons.get(status)
    return signed_out(reason) if reason else None


def signed_out(reason: AttentionReason) -> SignedOut:
    """Return the error that parks an account."""
    return SignedOut(_NEEDS_A_PERSON, reason=reason, words=WORDS[reason])


def error_for_http(
    status: int,
    *,
    location: str = "",
    retry_after: float | None = None,
    token: str | None = None,
) -> GatewayError:
    """Return the error for a status other than 200.

    `location` is the target of a redirect, `retry_after` is in seconds, `token` is the access token in a 400's body.
    """
    match status:
        case 301 | 302 | 303 | 307 | 308:
            reason = _reason_of(location)
            return session_refused() if reason is AttentionReason.SIGNED_OUT else signed_out(reason)
        case 400 | 405:
            return _rejected(status, token)
        case 401 | 403:
            return session_refused()
        case 429:
            return Throttled("The upstream limits how often its account may ask.", retry_after=retry_after)
        case _ if status >= 500:
            return UpstreamFailed(f"The upstream failed (HTTP {status}).", code="upstream_rejected")
        case _:
            return _refused(f"The upstream rejected the request (HTTP {status}).")


def html_instead_of_frames() -> SignedOut:
    """Return the error of a page where an answer was due: a sign-in or consent page."""
    return signed_out(AttentionReason.SIGNED_OUT)


def too_long(limit: int) -> BadRequest:
    """Return the error of a conversation that the site would cut."""
    return BadRequest(
        f"The conversation is longer than this model takes ({limit} bytes of text).",
        param="messages",
        code="context_length_exceeded",
    )


def drift(what: str) -> DriftDetected:
    """Return the error of an answer whose form we do not know."""
    return DriftDetected(f"The upstream's answer has an unknown form: {what}.")


def _rejected(status: int, token: str | None) -> UpstreamFailed:
    """Return the error for a 400 or 405: what to send anew, if anything."""
    if status == 405:
        return StaleBuild("The upstream rejected the request's build label.")
    if token:
        return StaleToken("The upstream rejected the request's access token.", token)
    return RequestRejected("The upstream rejected the request.")


def _refused(message: str) -> UpstreamFailed:
    error = UpstreamFailed(message, code="upstream_rejected")
    error.certainty = Certainty.REFUSED
    return error


def session_refused() -> SessionRefused:
    """Return the error of an answer that suggests that the session is signed out."""
    return SessionRefused(_NEEDS_A_PERSON, reason=AttentionReason.SIGNED_OUT, words=WORDS[AttentionReason.SIGNED_OUT])


def _reason_of(location: str) -> AttentionReason:
    """Return what a redirect asks for: its host and path tell, and never an address that its query carries."""
    address = location.partition("?")[0]
    if "/sorry/" in address:
        return AttentionReason.CHALLENGE
    return AttentionReason.CONSENT if "consent" in address else AttentionReason.SIGNED_OUT
