"""Connects the website: a client and a session per account, and the tasks that keep them alive."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from transports.account import Account, AccountKind, Facts
from transports.base import Deps, Kind
from transports.http import client, trusted
from transports.tasks import beside
from transports.web import wire
from transports.web.client import SiteClient
from transports.web.config import WebAccount, WebConfig
from transports.web.cookies import CookieExportError, parse_export
from transports.web.errands import open_errands
from transports.web.reuse import Reuse
from transports.web.rotate import Rotation
from transports.web.session import Session
from transports.web.transport import Means, WebTransport
from transports.web.vault import Vault

_GUEST = "-guest"
_PORTS = {"http": 80, "https": 443}


@asynccontextmanager
async def connect(config: WebConfig, deps: Deps) -> AsyncGenerator[WebTransport]:
    """Connect the settings' accounts; sessions are fetched when first needed.

    Raises:
        ValueError: as `check`.
        OSError: the store is out of order.

    """
    exports = read_exports(config)
    sessions: dict[str, Session] = {}
    accounts: list[Account] = []
    rotations: list[Rotation] = []
    async with AsyncExitStack() as stack:

        async def open_client(proxy: str | None = None) -> aiohttp.ClientSession:
            return await stack.enter_async_context(client(config.timeouts, proxy=proxy, ca_file=config.ca_file))

        clients = [await open_client(account.proxy) for account in config.accounts]
        guests_client = await open_client()
        errands = await stack.enter_async_context(open_errands(deps.clock))
        for account, http in zip(config.accounts, clients, strict=True):
            vault = Vault(account.id, exports[account.id], deps.store, deps.clock)
            await vault.load()
            user_agent = account.user_agent or config.user_agent
            site = SiteClient(config, http, errands, vault=vault, user_agent=user_agent)
            session = sessions[account.id] = Session(account.id, site, deps.clock)
            rotations.append(Rotation(session, vault, deps.store, deps.clock))
            accounts.append(account_of(account, deps.name, partial(_facts, vault)))
        if config.guest:
            site = SiteClient(config, guests_client, errands, vault=None, user_agent=config.user_agent)
            guest = guest_of(config, deps.name)
            sessions[guest.id] = Session(guest.id, site, deps.clock)
            accounts.append(guest)
        reuse = Reuse(deps.conversations, sessions, errands, deps.clock, config.reuse_seconds)
        sweeps = [partial(reuse.sweep, account.id) for account in config.accounts]
        await stack.enter_async_context(running([rotation.run for rotation in rotations] + sweeps))
        yield WebTransport(deps.name, sessions, accounts, Means(clock=deps.clock, errands=errands, reuse=reuse))


@asynccontextmanager
async def running(runs: Iterable[Callable[[], Coroutine[Any, Any, None]]]) -> AsyncGenerator[None]:
    """Run what keeps sessions alive and tidy."""
    async with beside() as tasks:
        for run in runs:
            tasks.start_soon(run)
        yield


def account_of(account: WebAccount, transport: str, facts: Callable[[], Facts] = Facts) -> Account:
    """Return an account as the pool knows it."""
    return Account(
        id=account.id,
        transport=transport,
        concurrency=account.concurrency,
        per_minute=account.per_minute,
        egress=egress_of(account),
        facts=facts,
    )


def _facts(vault: Vault) -> Facts:
    return Facts(credential=str(vault.renewals))


def guest_of(config: WebConfig, transport: str) -> Account:
    """Return the guest as the pool knows it."""
    return Account(
        id=f"{transport}{_GUEST}",
        transport=transport,
        concurrency=config.guest_concurrency,
        per_minute=config.guest_per_minute,
        kind=AccountKind.GUEST,
    )


def check(config: WebConfig) -> None:
    """Find what is wrong with the settings without asking the site.

    Raises:
        ValueError: accounts get in each other's way, or a file cannot be used; the message names no value.

    """
    read_exports(config)
    trusted(config.ca_file)


def read_exports(config: WebConfig) -> dict[str, dict[str, str]]:
    """Return the accounts' cookies by their ids.

    Raises:
        ValueError: an export or a proxy cannot be used, or two accounts are one; names accounts and no value.

    """
    exports: dict[str, dict[str, str]] = {}
    owners: dict[str, str] = {}
    for account in config.accounts:
        if account.id.endswith(_GUEST):
            raise ValueError(f"account {account.id!r}: an id that ends in {_GUEST!r} is the gateway's own")
        egress_of(account)
        exports[account.id] = cookies = read_cookies(account)
        owner = owners.setdefault(cookies[wire.PSID], account.id)
        if owner != account.id:
            raise ValueError(f"account {account.id!r}: its session is that of {owner!r}; two cannot renew it")
    return exports


def egress_of(account: WebAccount) -> str:
    """Return the way out of an account's requests, without credentials.

    Raises:
        ValueError: its proxy's address is none; names the account and no value.

    """
    if account.proxy is None:
        return ""
    try:
        parts = urlsplit(account.proxy)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise ValueError(f"account {account.id!r}: proxy: is no address of a proxy") from None
    return f"{parts.scheme}://{parts.hostname}:{port}"


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
    try:
        return parse_export(text)
    except CookieExportError as error:
        raise ValueError(f"account {account.id!r}: {error}") from None


def accounts_of(config: WebConfig) -> list[Account]:
    """Return the accounts that the settings name."""
    return [account_of(account, "web") for account in config.accounts]


KIND = Kind(WebConfig, connect, check, secrets=frozenset({"cookies", "proxy"}), accounts=accounts_of)
