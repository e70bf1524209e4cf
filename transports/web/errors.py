"""Map the site's HTTP statuses and redirects to errors; `codec.codes` maps the codes inside answers. No I/O.

Source: "Codes".
"""

import math

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
from transports.web.attention_reasons import ADVICE, AttentionReason

_BYTES_PER_TOKEN = 4
_NEEDS_ATTENTION = "The upstream's account needs its operator's attention before it can serve requests."


class StaleToken(UpstreamFailed):
    """HTTP 400 that carries a new access token: store that token and send the same call once more.

    Source: "Codes"
    """

    code = "upstream_rejected"
    certainty = Certainty.REFUSED

    def __init__(self, message: str, token: str | None = None) -> None:
        """Store the new token. It is a secret: neither the message nor the repr shows it."""
        super().__init__(message)
        self.token = token


class StaleBuild(UpstreamFailed):
    """HTTP 405: the build label `bl` is stale. Load the page and send the same call once more. Source: "Codes"."""

    code = "upstream_rejected"
    certainty = Certainty.REFUSED


class RequestRejected(UpstreamFailed):
    """HTTP 400 without a token: the request itself is wrong, so a retry would fail again. Source: "Codes"."""

    code = "upstream_rejected"
    certainty = Certainty.REFUSED


class SessionRefused(SignedOut):
    """The site does not accept the session: fetch it once more before the account is marked as needing attention."""


class ModelMismatch(UpstreamFailed):
    """1050 or 1052: the model header is not accepted; discover the account's models once more."""

    code = "upstream_rejected"
    certainty = Certainty.REFUSED


class Temporary(UpstreamFailed):
    """1013 or 1155: a temporary failure; the same account may be tried once more."""

    code = "upstream_rejected"
    certainty = Certainty.REFUSED


def error_for_account(status: int) -> SignedOut | None:
    """Return the error of an account that cannot serve, by its status (`otAQ7b` field 14); None if it can.

    An account that the site denies some features (1033) counts as available: it serves the others.
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
    """Return the error that marks an account as needing attention."""
    return SignedOut(_NEEDS_ATTENTION, reason=reason, advice=ADVICE[reason])


def error_for_http(
    status: int,
    *,
    location: str = "",
    retry_after: float | None = None,
    token: str | None = None,
) -> GatewayError:
    """Return the error for an HTTP status other than 200.

    `location` is the target of a redirect, `retry_after` is in seconds, `token` is the access token in a 400's body.
    """
    match status:
        case 301 | 302 | 303 | 307 | 308:
            address = location.partition("?")[0]  # without the query, which may contain other URLs
            reason = AttentionReason.CONSENT if "consent" in address else AttentionReason.SIGNED_OUT
            if "/sorry/" in address:
                reason = AttentionReason.CHALLENGE
            return session_refused() if reason is AttentionReason.SIGNED_OUT else signed_out(reason)
        case 400 | 405:
            return _rejected(status, token)
        case 401 | 403:
            return session_refused()
        case 429:
            return Throttled("The upstream rate-limits its account. Try again later.", retry_after=retry_after)
        case _ if status >= 500:
            return UpstreamFailed(f"The upstream failed (HTTP {status}).", code="upstream_rejected")
        case _:
            error = UpstreamFailed(f"The upstream rejected the request (HTTP {status}).", code="upstream_rejected")
            error.certainty = Certainty.REFUSED
            return error


def html_instead_of_frames() -> SignedOut:
    """Return the error for an HTML page (sign-in or consent) in place of an answer."""
    return signed_out(AttentionReason.SIGNED_OUT)


def too_long(size: int, limit: int) -> BadRequest:
    """Return the error for a conversation of `size` bytes, which the site would truncate.

    Claude Code reads both numbers of tokens, to know how much of the conversation to drop.
    """
    tokens = f"about {math.ceil(size / _BYTES_PER_TOKEN)} tokens > {limit // _BYTES_PER_TOKEN} maximum"
    return BadRequest(
        f"The conversation is longer than this model accepts: {tokens} ({limit} bytes of text). Shorten it.",
        param="messages",
        code="context_length_exceeded",
    )


def drift(what: str) -> DriftDetected:
    """Return the error for an answer in an unknown form."""
    return DriftDetected(f"The upstream's answer has an unknown form: {what}.")


def _rejected(status: int, token: str | None) -> UpstreamFailed:
    """Return the error for a 400 or 405; its type says whether and how to retry."""
    if status == 405:
        return StaleBuild("The upstream rejected the request's build label.")
    if token:
        return StaleToken("The upstream rejected the request's access token.", token)
    return RequestRejected("The upstream rejected the request.")


def session_refused() -> SessionRefused:
    """Return the error for a response that suggests that the session is signed out."""
    reason = AttentionReason.SIGNED_OUT
    return SessionRefused(_NEEDS_ATTENTION, reason=reason, advice=ADVICE[reason])
