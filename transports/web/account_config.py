"""Which accounts there are, in the settings and in the store, and what is wrong with one that cannot be used. No site.

Source: "Session", step 1; "Field notes".
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from transports.account import Account, AccountKind, Facts
from transports.accounts.registry import AccountRecord
from transports.http import trusted, way_out
from transports.web import wire
from transports.web.attention_reasons import NEVER_ROTATED
from transports.web.config import WebAccount, WebConfig
from transports.web.session.cookies import CookieExportError, header, parse_export
from transports.web.session.record import SessionRecord, decode, fingerprint

GUEST = "-guest"
_OPTIONS = tuple(name for name in WebAccount.__struct_fields__ if name not in {"id", "cookies", "cookies_file"})


class ConfiguredAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account that can be connected."""

    settings: WebAccount
    cookies: dict[str, str]
    """Of its export."""

    def __repr__(self) -> str:
        """Show no cookie."""
        return f"Known(id={self.settings.id!r})"


def check(config: WebConfig) -> None:
    """Find what is wrong with the settings without asking the site.

    Raises:
        ValueError: accounts get in each other's way, or a file cannot be used; the message names no value.

    """
    declared(config)
    trusted(config.ca_file)


def declared(config: WebConfig) -> dict[str, ConfiguredAccount]:
    """Return the accounts of the settings by their ids.

    Raises:
        ValueError: an export or a proxy cannot be used, or two accounts are one; names accounts and no value.

    """
    found: dict[str, ConfiguredAccount] = {}
    owners: dict[str, str] = {}
    for account in config.accounts:
        _check_account(account)
        known = found[account.id] = ConfiguredAccount(settings=account, cookies=read_cookies(account))
        claim(owners, known)
    return found


def redeclared(
    config: WebConfig, before: Mapping[str, ConfiguredAccount]
) -> tuple[dict[str, ConfiguredAccount], list[str]]:
    """Return the accounts of the settings as these and their files are now, and which files, or accounts, are no use.

    Where one is no use, what was there before holds.
    """
    found: dict[str, ConfiguredAccount] = {}
    owners: dict[str, str] = {}
    useless: list[str] = []
    fresh: dict[str, ConfiguredAccount] = {}
    for account in config.accounts:
        known = before.get(account.id)
        try:
            _check_account(account)
            fresh[account.id] = ConfiguredAccount(settings=account, cookies=read_cookies(account))
        except ValueError:
            useless.append(_place(account))
        if known is not None and fresh.get(account.id, known) == known and _is_free(owners, known):
            found[account.id] = known
    for account, known in fresh.items():  # they may have what others have let go of, and not what others still have
        there = before.get(account)
        if account in found:
            continue
        if _is_free(owners, known):
            found[account] = known
            continue
        useless.append(_place(known.settings))
        if there is not None and _is_free(owners, there):
            found[account] = there
    return {account.id: found[account.id] for account in config.accounts if account.id in found}, useless


def files_of(config: WebConfig) -> list[Path]:
    """Return the files that hold the accounts' cookies."""
    return [account.cookies_file for account in config.accounts if account.cookies_file is not None]


def _place(account: WebAccount) -> str:
    return str(account.cookies_file or account.id)


def _is_free(owners: dict[str, str], known: ConfiguredAccount) -> bool:
    try:
        claim(owners, known)
    except ValueError:
        return False
    return True


def claim(owners: dict[str, str], known: ConfiguredAccount) -> None:
    """Note whose identity it is.

    Raises:
        ValueError: it is another account's already; names both.

    """
    account = known.settings.id
    owner = owners.setdefault(known.cookies[wire.PSID], account)
    if owner != account:
        raise ValueError(
            f"account {account!r}: its session is that of {owner!r}, and only one account may renew a session, also "
            "with another authuser; sign in to it in a browser profile of its own, and export that session"
        )


def kept(entry: AccountRecord) -> ConfiguredAccount:
    """Return an account of the store.

    Raises:
        ValueError: it cannot be used; the message names the account and no value.

    """
    account = _with_options(entry)
    _check_account(account)
    return ConfiguredAccount(settings=account, cookies=_parsed(entry.id, entry.secret))


def admit(config: WebConfig, entry: AccountRecord) -> tuple[AccountRecord, Account]:
    """Return an account as it is to be kept in the store, and as the pool knows it.

    Raises:
        ValueError: it could not be used; the message names the account and no value.

    """
    known = kept(entry)
    if any(account.id == entry.id for account in config.accounts):
        raise ValueError(f"account {entry.id!r}: the settings name it already, and theirs holds")
    owners: dict[str, str] = {}
    for other in declared(config).values():
        claim(owners, other)
    claim(owners, known)
    options = msgspec.json.decode(msgspec.json.encode({name: getattr(known.settings, name) for name in entry.options}))
    normal = msgspec.structs.replace(entry, secret=header(known.cookies), options=options)
    return normal, account_of(known.settings, entry.transport)


def identity(entry: AccountRecord) -> str:
    """Return whose session an account of the store is: no two can renew one."""
    return parse_export(entry.secret)[wire.PSID]


def _with_options(entry: AccountRecord) -> WebAccount:
    """Return an account with its options, each of which is told where it cannot be used."""
    account: dict[str, Any] = {"id": entry.id, "cookies": entry.secret}
    for name, value in entry.options.items():
        if name not in _OPTIONS:
            raise ValueError(f"account {entry.id!r}: knows no option {name[:64]!r}; there are {', '.join(_OPTIONS)}")
        try:
            msgspec.convert(account | {name: value}, WebAccount, strict=False)
        except msgspec.ValidationError:
            raise ValueError(f"account {entry.id!r}: {name}: its value cannot be used") from None
    try:
        return msgspec.convert(account | entry.options, WebAccount, strict=False)
    except msgspec.ValidationError:
        raise ValueError(f"account {entry.id!r}: its id cannot be used") from None


def _check_account(account: WebAccount) -> None:
    if account.id.endswith(GUEST):
        raise ValueError(f"account {account.id!r}: an id that ends in {GUEST!r} is the gateway's own")
    egress_of(account)


def egress_of(account: WebAccount) -> str:
    """Return the way out of an account's requests, without credentials.

    Raises:
        ValueError: its proxy's address is none; names the account and no value.

    """
    try:
        return way_out(account.proxy)
    except ValueError as error:
        raise ValueError(f"account {account.id!r}: proxy: {error}") from None


def read_cookies(account: WebAccount) -> dict[str, str]:
    """Read an account's export from its file or its setting.

    Raises:
        ValueError: it cannot be read; the message names the account and no value.

    """
    text = account.cookies
    if (account.cookies_file is None) is (not text.strip()):
        raise ValueError(f"account {account.id!r}: needs one of cookies_file and cookies")
    if account.cookies_file is not None:
        try:
            text = account.cookies_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ValueError(f"account {account.id!r}: cannot read {account.cookies_file}: {reason}") from None
    return _parsed(account.id, text)


def _parsed(account: str, text: str) -> dict[str, str]:
    try:
        return parse_export(text)
    except CookieExportError as error:
        raise ValueError(f"account {account!r}: {error}") from None


def account_of(account: WebAccount, transport: str, facts: Callable[[], Facts] = Facts) -> Account:
    """Return an account as the pool knows it."""
    return Account(
        id=account.id,
        transport=transport,
        concurrency=account.concurrency,
        weight=account.weight,
        per_minute=account.per_minute,
        per_day=account.per_day,
        capabilities=frozenset(account.capabilities),
        egress=egress_of(account),
        facts=facts,
    )


def guest_of(config: WebConfig, transport: str) -> Account:
    """Return the guest as the pool knows it."""
    return Account(
        id=f"{transport}{GUEST}",
        transport=transport,
        concurrency=config.guest_concurrency,
        per_minute=config.guest_per_minute,
        kind=AccountKind.GUEST,
    )


def accounts_of(config: WebConfig) -> list[Account]:
    """Return the accounts that the settings name."""
    return [account_of(account, "web") for account in config.accounts]


def expiry(cookies: Mapping[str, str], rotated_at: float, interval: float = 0.0) -> float | None:
    """Return when a session ends unless it is renewed, in epoch seconds.

    None: it has no rolling cookie, or the age of that is unknown. It lives for 20 to 30 minutes then, or for longer
    than the interval that the site has named. The browser's export dates the cookies' own end months ahead, which says
    nothing.
    """
    if wire.PSIDTS not in cookies or not rotated_at:
        return None
    return rotated_at + max(wire.UNREFRESHED_SECONDS, 2 * interval)


def facts_of(saved: SessionRecord) -> Facts:
    """Return what a session tells of itself; its credential's word is a digest, from which nothing can be told.

    A session that is never rotated has no time of its last rotation, and no known end.
    """
    credential = fingerprint(saved.cookies)[:16]
    if saved.never:
        return Facts(credential=credential, renewal=NEVER_ROTATED)
    return Facts(
        credential=credential,
        rotated_at=saved.rotated_at or None,
        expires_at=expiry(saved.cookies, saved.rotated_at, saved.interval),
    )


def facts(value: bytes) -> Facts:
    """Return what a session that is kept in the store tells of itself; nothing where it cannot be read."""
    try:
        return facts_of(decode(value))
    except msgspec.MsgspecError:
        return Facts()
