"""The reasons why an account needs attention, and what its operator can do; no I/O. Source: "Codes", "Field notes"."""

from enum import StrEnum

_EXPORT = (
    "sign in at gemini.google.com in a private window, export its cookies, close the window without signing out, and "
    "give the gateway the new export"
)


class AttentionReason(StrEnum):
    """Why an account needs attention."""

    SIGNED_OUT = "signed_out"
    BOUND = "bound"
    CONSENT = "consent"
    CHALLENGE = "challenge"
    REJECTED = "rejected"
    TERMS = "terms"
    GUARDIAN = "guardian"
    LOCATION = "location"
    UNAVAILABLE = "unavailable"


ADVICE: dict[AttentionReason, str] = {
    AttentionReason.SIGNED_OUT: f"The session has ended at the site: {_EXPORT}.",
    AttentionReason.BOUND: (
        "The browser has bound this session to its device, so the gateway cannot rotate it: use a browser that does "
        f"not bind sessions, such as Firefox; {_EXPORT}."
    ),
    AttentionReason.CONSENT: (
        "The site asks for consent: open gemini.google.com with this account and answer the page."
    ),
    AttentionReason.CHALLENGE: (
        "The site suspects a robot at this address: send fewer requests or use another proxy, open gemini.google.com "
        "with this account through the same proxy, answer the page, and resume the account."
    ),
    AttentionReason.REJECTED: (
        "The site refuses this account: open gemini.google.com with it to read why; if it stays refused, use another "
        "account."
    ),
    AttentionReason.TERMS: (
        "The site asks to accept its terms: open gemini.google.com with this account and accept them."
    ),
    AttentionReason.GUARDIAN: (
        "The site requires a guardian's approval for this account: get the approval, or use an account of an adult."
    ),
    AttentionReason.LOCATION: (
        "The site does not serve this account from its present location: set a proxy in a supported country."
    ),
    AttentionReason.UNAVAILABLE: (
        "The site reports that this account is unavailable: wait, then resume it; if that does not help, open "
        "gemini.google.com with it."
    ),
}
"""One sentence per reason: what happened and what to do."""

NEVER_ROTATED = (
    "The site never rotates this session: the account works until the site ends it; then give the gateway a new export."
)
"""Shown to the operator: the session is valid, but cannot be rotated."""
