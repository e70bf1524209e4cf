"""How keys of the API are configured: `ACCOUNTS` describes them."""

import re
from hashlib import sha256

from transports.account import AccountKind
from transports.accounts.configured import AccountOption, AccountType, CredentialPart
from transports.api.config import ApiKeyAccount
from transports.http import egress_of

_KEY = re.compile(r"[!-~]{8,512}")
_GOOGLE_KEY = re.compile(r"AIza[0-9A-Za-z_-]{35}|AQ\.[0-9A-Za-z._-]{20,}")
"""The forms of keys that Google AI Studio has handed out."""

_LIKE_A_KEY = re.compile(r"(AIza|AQ\.)[!-~]{4,}")


def parse_key(text: str) -> str:
    """Return a key without blanks around it, also from a text that has one, such as JSON, a command or `NAME=key`.

    Raises:
        ValueError: it is not visible ASCII without blanks; the message does not show it.

    """
    key = text.strip().strip("\"'")
    within = set(_GOOGLE_KEY.findall(key))
    if len(within) == 1 and not _LIKE_A_KEY.fullmatch(key):
        return within.pop()
    if not _KEY.fullmatch(key):
        raise ValueError("expected one key of 8 to 512 visible characters, such as AIza…")
    return key


def recognizes_key(text: str) -> bool:
    """Return whether a text is a key, by its beginning, or has one; cookies of the website may come with other keys."""
    if _LIKE_A_KEY.fullmatch(text.strip().strip("\"'")):
        return True
    return "1PSID" not in text.upper() and len(set(_GOOGLE_KEY.findall(text))) == 1


def check_new_key(text: str, _now: float, is_simulated: bool) -> None:
    """Check that a new key has a form that Google's keys have; a simulator takes any.

    Raises:
        ValueError: it has not; the message does not show it.

    """
    if not is_simulated and not _GOOGLE_KEY.fullmatch(parse_key(text)):
        raise ValueError(
            "this is not a key of the Gemini API: create one in Google AI Studio; it begins with AIza or AQ."
        )


def fingerprint(key: str) -> str:
    """Return a digest that tells keys apart and does not reveal them."""
    return sha256(b"gemini api key:" + key.encode()).hexdigest()[:16]


def _egress(account: ApiKeyAccount) -> str:
    try:
        return egress_of(account.proxy)
    except ValueError as error:
        raise ValueError(f"proxy: {error}") from None


ACCOUNTS = AccountType(
    settings=ApiKeyAccount,
    field="key",
    kind=AccountKind.API_KEY,
    noun="key",
    parse=parse_key,
    recognizes=recognizes_key,
    check_new=check_new_key,
    duplicate_advice="a second account with it has no quota of its own",
    egress=_egress,
    tier=lambda account: account.tier,
    quota_group=lambda account: account.project,
    parts=(
        CredentialPart(
            option="key",
            variable="GEMINI_GATEWAY_API_KEY",
            help="Key of the Gemini API.",
            prompt="Key of the Gemini API (not shown)",
        ),
    ),
    options=(
        AccountOption(name="tier", help="Tier of an API key: free or paid."),
        AccountOption(name="project", help="Project of an API key; its keys share quotas."),
        AccountOption(name="proxy", help="Proxy for this account only."),
    ),
)
