"""Why an account waits for a person, and what that person can do; no I/O. Source: "Codes", "Field notes"."""

from enum import StrEnum

_FRESH_EXPORT = "sign in at gemini.google.com in a private window, export its cookies, close the window without signing"
_EXPORT = f"{_FRESH_EXPORT} out, and give the gateway the new export"


class AttentionReason(StrEnum):
    """Why an account waits for a person."""

    SIGNED_OUT = "signed_out"
    BOUND = "bound"
    CONSENT = "consent"
    CHALLENGE = "challenge"
    REJECTED = "rejected"
    TERMS = "terms"
    GUARDIAN = "guardian"
    LOCATION = "location"
    UNAVAILABLE = "unavailable"


WORDS: dict[AttentionReason, str] = {
    AttentionReason.SIGNED_OUT: f"The site does not know this session any more: {_EXPORT}.",
    AttentionReason.BOUND: (
        "The browser has bound this session to its device, so nobody else can keep it alive: export one from a browser "
        f"that does not bind sessions, as Firefox; {_EXPORT}."
    ),
    AttentionReason.CONSENT: (
        "The site wants a consent first: open gemini.google.com with this account and answer its page."
    ),
    AttentionReason.CHALLENGE: (
        "The site suspects a robot at this address: ask less often or through another proxy, open gemini.google.com "
        "with this account by the same way out, answer the page, and resume the account."
    ),
    AttentionReason.REJECTED: (
        "The site refuses this account: open gemini.google.com with it to read why; use another one if it stays so."
    ),
    AttentionReason.TERMS: (
        "The site wants its terms accepted: open gemini.google.com with this account and accept them."
    ),
    AttentionReason.GUARDIAN: (
        "The site wants a guardian's approval for this account: have it given, or use an account of an adult."
    ),
    AttentionReason.LOCATION: (
        "The site does not serve this account from where it is asked: give it a proxy in a country that it serves."
    ),
    AttentionReason.UNAVAILABLE: (
        "The site says that this account cannot be served for now: wait, then resume it; if it stays so, open "
        "gemini.google.com with it."
    ),
}
"""One sentence for each: what has happened, and what to do about it."""

NEVER_ROTATED = (
    "The site never renews this session, and says so: the account works until the site ends the session; then give the "
    "gateway a new export."
)
"""For an operator: the session is good, and nothing keeps it alive."""
