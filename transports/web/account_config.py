"""How accounts of the website are configured: `ACCOUNTS` describes their credential, a session's cookies.

Source: "Session", step 1; "Field notes".
"""

from collections.abc import Mapping

import msgspec

from transports.account import Account, AccountKind, Facts
from transports.accounts.configured import GUEST, AccountOption, AccountType, CredentialPart
from transports.http import egress_of
from transports.web import wire
from transports.web.attention_reasons import NEVER_ROTATED
from transports.web.config import WebAccount, WebConfig
from transports.web.session.cookie_export import check_new, parse_export
from transports.web.session.cookies import header
from transports.web.session.record import SessionRecord, decode, fingerprint


def guest_of(config: WebConfig, transport: str) -> Account:
    """Return the pool's view of the guest."""
    return Account(
        id=f"{transport}{GUEST}",
        transport=transport,
        concurrency=config.guest_concurrency,
        per_minute=config.guest_per_minute,
        kind=AccountKind.GUEST,
    )


def expiry(cookies: Mapping[str, str], rotated_at: float, interval: float = 0.0) -> float | None:
    """Return when a session ends unless it is rotated, in epoch seconds.

    None if it has no rolling cookie, or the cookie's age is unknown. A session lives for 20 to 30 minutes after its
    last rotation, or longer if the site named a longer interval. The expiry dates in a browser's export are months
    ahead and do not apply.
    """
    if wire.PSIDTS not in cookies or not rotated_at:
        return None
    return rotated_at + max(wire.UNREFRESHED_SECONDS, 2 * interval)


def facts_of(saved: SessionRecord) -> Facts:
    """Return the facts about a stored session; `credential` is a digest that reveals no cookie.

    A session that the site never rotates has neither a time of rotation nor a known end.
    """
    credential = fingerprint(saved.cookies)[:16]
    if saved.never:
        return Facts(credential=credential, rotation_note=NEVER_ROTATED)
    return Facts(
        credential=credential,
        rotated_at=saved.rotated_at or None,
        expires_at=expiry(saved.cookies, saved.rotated_at, saved.interval),
    )


def stored_facts(value: bytes) -> Facts:
    """Return the facts about a session from its stored bytes; empty facts if they cannot be read."""
    try:
        return facts_of(decode(value))
    except msgspec.MsgspecError:
        return Facts()


def recognizes_session(text: str) -> bool:
    """Return whether a text holds the cookies of a session, other than a value that could be any."""
    try:
        return bool(parse_export(text)) and (wire.PSID in text or text.lstrip().startswith("g.a"))
    except ValueError:
        return False


def _egress(account: WebAccount) -> str:
    try:
        return egress_of(account.proxy)
    except ValueError as error:
        raise ValueError(f"proxy: {error}") from None


ACCOUNTS = AccountType(
    settings=WebAccount,
    field="cookies",
    kind=AccountKind.SESSION,
    noun="session",
    parse=lambda export: header(parse_export(export)),
    recognizes=recognizes_session,
    check_new=check_new,
    identity=lambda cookies: parse_export(cookies)[wire.PSID],
    duplicate_advice=(
        "only one account may rotate a session, even with another authuser: sign in to it in a separate browser "
        "profile and export that session"
    ),
    egress=_egress,
    facts=stored_facts,
    parts=(
        CredentialPart(
            option="psid",
            variable="GEMINI_GATEWAY_PSID",
            help="Value of __Secure-1PSID.",
            prompt="__Secure-1PSID, or a Cookie header (not shown)",
        ),
        CredentialPart(
            option="psidts",
            variable="GEMINI_GATEWAY_PSIDTS",
            help="Value of __Secure-1PSIDTS.",
            prompt="__Secure-1PSIDTS (not shown; empty if there is none)",
            optional=True,
        ),
    ),
    complete=lambda value: "=" in value.rstrip("="),
    options=(
        AccountOption(name="proxy", help="Proxy for this account only."),
        AccountOption(name="authuser", help="N in gemini.google.com/u/N/app."),
        AccountOption(name="user_agent", help="User-Agent of the browser that the session is from."),
    ),
)
