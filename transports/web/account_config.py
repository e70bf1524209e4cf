"""Read and validate the accounts of the settings and the store, without connecting to the site.

Source: "Session", step 1; "Field notes".
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from transports.account import Account, AccountKind, Facts
from transports.accounts.registry import AccountRecord
from transports.http import trusted, way_out
from transports.secret_files import read_secret
from transports.web import wire
from transports.web.attention_reasons import NEVER_ROTATED
from transports.web.config import WebAccount, WebConfig
from transports.web.session.cookies import CookieExportError, header, parse_export
from transports.web.session.record import SessionRecord, decode, fingerprint

GUEST = "-guest"
_OPTIONS = tuple(name for name in WebAccount.__struct_fields__ if name not in {"id", "cookies", "cookies_file"})


class ConfiguredAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A valid account, ready to be connected."""

    settings: WebAccount
    cookies: dict[str, str]
    """The cookies of its export."""

    def __repr__(self) -> str:
        """Return a representation without cookies."""
        return f"ConfiguredAccount(id={self.settings.id!r})"


def check(config: WebConfig) -> None:
    """Validate the settings without contacting the site.

    Raises:
        ValueError: accounts conflict, or a file cannot be used; the message contains no secret.

    """
    declared(config)
    trusted(config.ca_file)


def declared(config: WebConfig) -> dict[str, ConfiguredAccount]:
    """Return the accounts of the settings by id.

    Raises:
        ValueError: an export or a proxy is invalid, or two accounts share a session; names accounts, not secrets.

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
    """Read the accounts of the settings and their files again; return them, and the files or accounts that are invalid.

    An account that became invalid keeps its earlier configuration.
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
            useless.append(_source_of(account))
        if known is not None and fresh.get(account.id, known) == known and _is_free(owners, known):
            found[account.id] = known
    for account, known in fresh.items():  # may take a session that another account gave up, but not one in use
        there = before.get(account)
        if account in found:
            continue
        if _is_free(owners, known):
            found[account] = known
            continue
        useless.append(_source_of(known.settings))
        if there is not None and _is_free(owners, there):
            found[account] = there
    return {account.id: found[account.id] for account in config.accounts if account.id in found}, useless


def files_of(config: WebConfig) -> list[Path]:
    """Return the cookie files of the accounts."""
    return [account.cookies_file for account in config.accounts if account.cookies_file is not None]


def _source_of(account: WebAccount) -> str:
    return str(account.cookies_file or account.id)


def _is_free(owners: dict[str, str], known: ConfiguredAccount) -> bool:
    try:
        claim(owners, known)
    except ValueError:
        return False
    return True


def claim(owners: dict[str, str], known: ConfiguredAccount) -> None:
    """Record the account as the owner of its session.

    Raises:
        ValueError: another account already owns the session; names both.

    """
    account = known.settings.id
    owner = owners.setdefault(known.cookies[wire.PSID], account)
    if owner != account:
        raise ValueError(
            f"account {account!r}: it has the same session as account {owner!r}, and only one account may renew a "
            "session, even with another authuser; sign in to it in a separate browser profile and export that session"
        )


def kept(entry: AccountRecord) -> ConfiguredAccount:
    """Read and validate an account of the store.

    Raises:
        ValueError: the account is invalid; the message names the account, not its secrets.

    """
    account = _with_options(entry)
    _check_account(account)
    return ConfiguredAccount(settings=account, cookies=_parsed(entry.id, entry.secret))


def admit(config: WebConfig, entry: AccountRecord) -> tuple[AccountRecord, Account]:
    """Validate a new account; return its record for the store, and the account for the pool.

    Raises:
        ValueError: the account is invalid; the message names the account, not its secrets.

    """
    known = kept(entry)
    if any(account.id == entry.id for account in config.accounts):
        raise ValueError(f"account {entry.id!r}: the settings already have an account of this id; choose another id")
    owners: dict[str, str] = {}
    for other in declared(config).values():
        claim(owners, other)
    claim(owners, known)
    options = msgspec.json.decode(msgspec.json.encode({name: getattr(known.settings, name) for name in entry.options}))
    normal = msgspec.structs.replace(entry, secret=header(known.cookies), options=options)
    return normal, account_of(known.settings, entry.transport)


def identity(entry: AccountRecord) -> str:
    """Return the identity of a stored account's session; two accounts must not have the same."""
    return parse_export(entry.secret)[wire.PSID]


def _with_options(entry: AccountRecord) -> WebAccount:
    """Return an account with its options applied; raise ValueError with the name of an invalid option."""
    account: dict[str, Any] = {"id": entry.id, "cookies": entry.secret}
    for name, value in entry.options.items():
        if name not in _OPTIONS:
            raise ValueError(f"account {entry.id!r}: unknown option {name[:64]!r}; valid are {', '.join(_OPTIONS)}")
        try:
            msgspec.convert(account | {name: value}, WebAccount, strict=False)
        except msgspec.ValidationError:
            raise ValueError(f"account {entry.id!r}: {name}: invalid value") from None
    try:
        return msgspec.convert(account | entry.options, WebAccount, strict=False)
    except msgspec.ValidationError:
        raise ValueError(f"account {entry.id!r}: invalid id") from None


def _check_account(account: WebAccount) -> None:
    if account.id.endswith(GUEST):
        raise ValueError(f"account {account.id!r}: ids that end in {GUEST!r} are reserved; choose another id")
    egress_of(account)


def egress_of(account: WebAccount) -> str:
    """Return the egress (proxy or this machine) of an account's requests, without credentials.

    Raises:
        ValueError: the proxy's URL is invalid; names the account, not the URL.

    """
    try:
        return way_out(account.proxy)
    except ValueError as error:
        raise ValueError(f"account {account.id!r}: proxy: {error}") from None


def read_cookies(account: WebAccount) -> dict[str, str]:
    """Read an account's cookie export from its file or setting.

    Raises:
        ValueError: the export cannot be read; the message names the account, not its secrets.

    """
    text = account.cookies
    if (account.cookies_file is None) is (not text.strip()):
        raise ValueError(f"account {account.id!r}: set one of cookies_file and cookies")
    if account.cookies_file is not None:
        try:
            text = read_secret(account.cookies_file)
        except ValueError as error:
            raise ValueError(f"account {account.id!r}: {error}") from None
    return _parsed(account.id, text)


def _parsed(account: str, text: str) -> dict[str, str]:
    try:
        return parse_export(text)
    except CookieExportError as error:
        raise ValueError(f"account {account!r}: {error}") from None


def account_of(account: WebAccount, transport: str, facts: Callable[[], Facts] = Facts) -> Account:
    """Return the pool's view of an account."""
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
    """Return the pool's view of the guest."""
    return Account(
        id=f"{transport}{GUEST}",
        transport=transport,
        concurrency=config.guest_concurrency,
        per_minute=config.guest_per_minute,
        kind=AccountKind.GUEST,
    )


def accounts_of(config: WebConfig) -> list[Account]:
    """Return the pool's view of the accounts in the settings."""
    return [account_of(account, "web") for account in config.accounts]


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


def facts(value: bytes) -> Facts:
    """Return the facts about a session from its stored bytes; empty facts if they cannot be read."""
    try:
        return facts_of(decode(value))
    except msgspec.MsgspecError:
        return Facts()
