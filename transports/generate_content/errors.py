"""Maps errors of the API to the gateway's errors. No I/O.

Source: "Errors".
"""

import re
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from protocol.model import (
    BadRequest,
    Blocked,
    Certainty,
    GatewayError,
    NotIncluded,
    Overloaded,
    RateLimited,
    RequestTooLarge,
    SignedOut,
    Throttled,
    Unsupported,
    UpstreamFailed,
    UpstreamTimeout,
)
from transports.generate_content import wire

PACIFIC = ZoneInfo("America/Los_Angeles")
"""Quotas per day begin again at midnight there."""
_MINUTE = 60.0
_NEVER = 86400.0
"""A project that begins to pay gets quotas, so a key is tried again each day."""
_SHORTEST = 1.0
_DURATION = re.compile(r"(\d+(?:\.\d*)?)s")
_SHOWN = 300
_NO_FILE = re.compile(r"\b(?:access the File|files/)\b")
"""A file that was deleted, or is another project's, is refused as if the key lacked a permission."""
_NEEDS_ATTENTION = "The upstream's account needs its operator's attention before it can serve requests."


class KeyReason(StrEnum):
    """Why a key needs attention."""

    INVALID = "key_invalid"
    EXPIRED = "key_expired"
    LEAKED = "key_leaked"
    DENIED = "permission_denied"
    DISABLED = "api_disabled"
    BILLING = "billing"
    CREDITS = "credits_depleted"
    SPENDING_CAP = "spending_cap"
    NO_PROJECT = "project_missing"
    SUSPENDED = "project_suspended"


ADVICE = {
    KeyReason.INVALID: "The API does not accept this key: create another one in Google AI Studio.",
    KeyReason.EXPIRED: "This key has expired: create another one in Google AI Studio.",
    KeyReason.LEAKED: "Google has blocked this key because it was published: delete it and create another one.",
    KeyReason.DENIED: "This key may not use the Gemini API: check its restrictions in the Google Cloud console.",
    KeyReason.DISABLED: "The Gemini API is not enabled in the key's project: enable it in the Google Cloud console.",
    KeyReason.BILLING: "The key's project needs billing: enable it in Google AI Studio.",
    KeyReason.CREDITS: "The prepaid credits of the key's project are used up: buy more in Google AI Studio.",
    KeyReason.SPENDING_CAP: "The key's project has spent its limit of this month: raise it in Google AI Studio.",
    KeyReason.NO_PROJECT: "The key's project does not exist any more: create a key of another project.",
    KeyReason.SUSPENDED: "Google has suspended the key's project: see the messages in the Google Cloud console.",
}
_REASONS = {
    "API_KEY_INVALID": KeyReason.INVALID,
    "API_KEY_EXPIRED": KeyReason.EXPIRED,
    "API_KEY_SERVICE_BLOCKED": KeyReason.DENIED,
    "API_KEY_HTTP_REFERRER_BLOCKED": KeyReason.DENIED,
    "API_KEY_IP_ADDRESS_BLOCKED": KeyReason.DENIED,
    "API_KEY_ANDROID_APP_BLOCKED": KeyReason.DENIED,
    "API_KEY_IOS_APP_BLOCKED": KeyReason.DENIED,
    "SERVICE_DISABLED": KeyReason.DISABLED,
    "BILLING_DISABLED": KeyReason.BILLING,
    "CONSUMER_INVALID": KeyReason.NO_PROJECT,
    "CONSUMER_SUSPENDED": KeyReason.SUSPENDED,
}
"""Reasons of `google.rpc.ErrorInfo`."""
_BEGINNINGS = {
    "api key expired": KeyReason.EXPIRED,
    "your api key was reported as leaked": KeyReason.LEAKED,
    "your prepayment credits are depleted": KeyReason.CREDITS,
    "your project has exceeded its monthly spending cap": KeyReason.SPENDING_CAP,
    "your project has been denied access": KeyReason.SUSPENDED,
    "gemini api free tier is not available": KeyReason.BILLING,
}
"""Beginnings of messages, in lower case, that say more than their reason. Only a beginning counts: what follows in a
message can be words of the request, and a client must not be able to take a key out of service."""


class SignatureRefused(UpstreamFailed):
    """A thought signature of the history is missing or not valid here: send the request once more without it."""

    code = "upstream_rejected"
    certainty = Certainty.REFUSED


class FileMissing(UpstreamFailed):
    """The API does not have a file, or not for this key: upload it again."""

    code = "media_gone"
    certainty = Certainty.REFUSED


class CacheRefused(UpstreamFailed):
    """Cached contents have ended, or cannot be used or made: send the whole request."""

    code = "upstream_rejected"
    certainty = Certainty.REFUSED


class ModelMissing(Unsupported):
    """The API does not have the model, or not for this key."""

    of_account = True


def needs_attention(reason: KeyReason) -> SignedOut:
    """Return the error that marks a key as needing attention."""
    return SignedOut(_NEEDS_ATTENTION, reason=reason, advice=ADVICE[reason])


def error_for_body(status: int, body: bytes | bytearray, *, now: float = 0.0) -> GatewayError:
    """Return the error for an HTTP status other than 200; a body that is not Google's error says nothing more.

    `now` is the time in epoch seconds.
    """
    error = error_in(body)
    if status == 403 and error is None:
        return Blocked("The upstream refuses the address of this gateway.")
    return error_for(status, error or wire.RpcStatus(code=status), now=now)


def error_in(body: bytes | bytearray) -> wire.RpcStatus | None:
    """Return the last error in a body: in an object, or in an array of answers. None: it has none."""
    try:
        found: wire.RpcBody | tuple[wire.RpcBody, ...] = wire.decode_error(body)
    except msgspec.MsgspecError:
        return None
    bodies = found if isinstance(found, tuple) else (found,)
    return next((one.error for one in reversed(bodies) if one.error is not None), None)


def error_for(status: int, error: wire.RpcStatus, *, now: float = 0.0) -> GatewayError:
    """Return the gateway's error for an error of the API; `now` is the time in epoch seconds."""
    reasons, text = {detail.reason for detail in error.details}, error.message.lower()
    found = [attention for beginning, attention in _BEGINNINGS.items() if text.startswith(beginning)]
    found += [attention for reason, attention in _REASONS.items() if reason in reasons]
    if found and 400 <= status < 500:
        return needs_attention(found[0])
    match status:
        case 400 | 403 | 404 | 429 if "cachedcontent" in error.message.lower().replace(" ", ""):
            return CacheRefused("The upstream refused cached contents.")
        case 400:
            return _bad_request(error)
        case 401 | 403:
            return _forbidden(error) if status == 403 else needs_attention(KeyReason.INVALID)
        case 429:
            return _rate_limited(error, now)
        case _:
            return _error_without_details(status, error.message)


def _error_without_details(status: int, text: str) -> GatewayError:
    match status:
        case 404 if "no longer available" in text:
            message = "The upstream has retired this model. Use a newer one, or correct the model in the settings."
            return ModelMissing(message, param="model")
        case 404:
            return ModelMissing("The upstream does not have this model, or not for its key.", param="model")
        case 413:
            return RequestTooLarge("The request is too large for the upstream. Send less at once.")
        case 503:
            return Overloaded("The model is overloaded at the upstream. Try again later.")
        case 408 | 504:
            return UpstreamTimeout("The upstream did not answer in time.")
        case _:
            return UpstreamFailed(f"The upstream failed (HTTP {status}).", code="upstream_rejected")


def _forbidden(error: wire.RpcStatus) -> GatewayError:
    if _NO_FILE.search(error.message):
        return FileMissing("The upstream no longer has a file of this request. Send the request again.")
    return needs_attention(KeyReason.DENIED)


def _bad_request(error: wire.RpcStatus) -> GatewayError:
    text = error.message.lower()
    if text.startswith("user location is not supported"):
        return Blocked("The upstream does not serve the region of this gateway's address.")
    if error.status == "FAILED_PRECONDITION" and "billing" in text:
        return needs_attention(KeyReason.BILLING)
    if text.startswith("api key"):
        return needs_attention(KeyReason.INVALID)
    if "thought signature" in text or "thought_signature" in text:
        return SignatureRefused("The upstream rejected a thought signature.")
    if "exceeds the maximum number of tokens" in text:
        message = "The conversation is longer than this model accepts. Shorten it."
        return BadRequest(message, param="messages", code="context_length_exceeded")
    # the API's message names the field at fault; it is shortened, and without line breaks
    reason = " ".join(error.message.split())[:_SHOWN] or "it did not say why"
    return Unsupported(f"The upstream rejected the request: {reason}")


def _rate_limited(error: wire.RpcStatus, now: float) -> RateLimited:
    """Return the error of a quota: of a minute, of a day, or one that the key never has."""
    violations = [violation for detail in error.details for violation in detail.violations]
    delays = [delay for detail in error.details if (delay := _seconds(detail.retry_delay)) is not None]
    if any(str(violation.get("quotaValue", "")) == "0" for violation in violations):
        return NotIncluded("The upstream's key does not include this model.", retry_after=_NEVER)
    quotas = [str(violation.get("quotaId", "")) for violation in violations]
    if any("PerDay" in quota for quota in quotas):  # the delay that comes with it can be that of the minute
        return RateLimited("The upstream's quota of the day is used up.", retry_after=until_midnight(now))
    if any("PerMinute" in quota for quota in quotas) or delays:
        wait = max(delays, default=_MINUTE)
        return Throttled("The upstream rate-limits its key. Try again later.", retry_after=wait)
    if not quotas:  # no quota is named: the API has too much to do
        return Throttled("The upstream rate-limits its key. Try again later.")
    return RateLimited("The upstream's quota is used up. Try again later.")


def _seconds(delay: str) -> float | None:
    """Return the seconds of a duration such as `26s` or `0.5s`: at least one, and at most a day."""
    found = _DURATION.fullmatch(delay)
    return min(max(float(found[1]), _SHORTEST), _NEVER) if found else None


def until_midnight(now: float) -> float:
    """Return the seconds from a time in epoch seconds to the next midnight in California."""
    there = datetime.fromtimestamp(now, PACIFIC)
    midnight = datetime.combine(there.date() + timedelta(days=1), datetime.min.time(), PACIFIC)
    return midnight.timestamp() - now
