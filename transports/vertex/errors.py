"""Reasons why a service account needs attention, and what to do.

Source: "Vertex AI".
"""

from enum import StrEnum

from protocol.model import Certainty, GatewayError, RateLimited, SignedOut, Throttled, UpstreamFailed
from transports.generate_content.errors import KeyReason

_BUSY_SECONDS = 15.0
"""Vertex AI shares its capacity among all projects; a refusal names no time and soon passes."""
_NEEDS_ATTENTION = "The upstream's account needs its operator's attention before it can serve requests."


class CredentialReason(StrEnum):
    """Why Google issues no token."""

    KEY = "service_account_key_revoked"
    GONE = "service_account_gone"
    DISABLED = "service_account_disabled"
    CLOCK = "clock_wrong"
    REFUSED = "credentials_refused"
    MISSING = "credentials_missing"


CREDENTIAL_ADVICE = {
    CredentialReason.KEY: "Google does not know this key of the service account, or no longer: create another one.",
    CredentialReason.GONE: "Google knows no such service account: it was deleted or disabled; use another one.",
    CredentialReason.DISABLED: "The service account is disabled: enable it in the Google Cloud console.",
    CredentialReason.CLOCK: "Google rejects the time of this machine: set its clock.",
    CredentialReason.REFUSED: "Google issues no token for these credentials: check them, and their scopes.",
    CredentialReason.MISSING: (
        "This machine has no Application Default Credentials: set GOOGLE_APPLICATION_CREDENTIALS, or run "
        "gcloud auth application-default login."
    ),
}
_DESCRIPTIONS = {
    "jwt signature": CredentialReason.KEY,
    "robot is disabled": CredentialReason.DISABLED,
    "account not found": CredentialReason.GONE,
    "short-lived token": CredentialReason.CLOCK,
}
"""Parts of what the token endpoint writes, in lower case."""
_ADVICE = {
    KeyReason.INVALID: "Vertex AI does not accept the account's token: check whether it is disabled.",
    KeyReason.DENIED: "The account may not use Vertex AI in this project: give it the role Vertex AI User.",
    KeyReason.DISABLED: "The Vertex AI API is not enabled in this project: enable it in the Google Cloud console.",
    KeyReason.BILLING: "The project needs billing: enable it in the Google Cloud console.",
    KeyReason.SUSPENDED: "Google has suspended the project: see the messages in the Google Cloud console.",
}


def credential_refused(reason: CredentialReason) -> SignedOut:
    """Return the error that marks an account as needing attention."""
    return SignedOut(_NEEDS_ATTENTION, reason=reason, advice=CREDENTIAL_ADVICE[reason])


def error_for_refresh(text: str, *, retryable: bool) -> GatewayError:
    """Return the error for a refused token, by what google-auth says about it."""
    lower = text.lower()
    for description, reason in _DESCRIPTIONS.items():
        if description in lower:
            return credential_refused(reason)
    if retryable:
        return token_unavailable()
    return credential_refused(CredentialReason.REFUSED)


def token_unavailable() -> UpstreamFailed:
    """Return the error of a token endpoint that fails or cannot be reached; the request was not sent."""
    message = "The upstream's token cannot be renewed. Try again later."
    return UpstreamFailed(message, code="upstream_unreachable", certainty=Certainty.NOT_SENT)


def on_vertex(error: GatewayError) -> GatewayError:
    """Return an error of the API as it is meant on Vertex AI."""
    if isinstance(error, SignedOut) and error.reason in _ADVICE:
        return SignedOut(error.message, reason=error.reason, advice=_ADVICE[KeyReason(error.reason)])
    if isinstance(error, RateLimited) and error.retry_after is None:
        return Throttled("The model is overloaded at the upstream. Try again later.", retry_after=_BUSY_SECONDS)
    return error
