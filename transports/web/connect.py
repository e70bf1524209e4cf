"""Connects the website: a client and a session per account, and the tasks that keep them alive."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from transports.base import Account, Deps, Kind
from transports.http import client
from transports.web.client import SiteClient
from transports.web.config import WebAccount, WebConfig
from transports.web.cookies import CookieExportError, parse_export
from transports.web.rotate import Rotation
from transports.web.session import Session
from transports.web.transport import WebTransport
from transports.web.vault import Vault


@asynccontextmanager
async def connect(config: WebConfig, deps: Deps) -> AsyncGenerator[WebTransport]:
    """Connect the settings' accounts; sessions are fetched when first needed.

    Raises:
        ValueError: an account's export cannot be read; the message names the account and no value.

    """
    exports = [(account, read_cookies(account)) for account in config.accounts]
    sessions: dict[str, Session] = {}
    accounts: list[Account] = []
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        for account, cookies in exports:
            vault = Vault(account.id, cookies, deps.store, deps.clock)
            await vault.load()
            http = await stack.enter_async_context(client(config.timeouts, proxy=account.proxy, ca_file=config.ca_file))
            site = SiteClient(config, http, vault=vault, user_agent=account.user_agent or config.user_agent)
            session = sessions[account.id] = Session(account.id, site, deps.clock)
            tasks.start_soon(Rotation(session, vault, deps.store, deps.clock).run)
            accounts.append(
                Account(
                    id=account.id,
                    transport=deps.name,
                    concurrency=account.concurrency,
                    per_minute=account.per_minute,
                ),
            )
        if config.guest:
            http = await stack.enter_async_context(client(config.timeouts, ca_file=config.ca_file))
            site = SiteClient(config, http, vault=None, user_agent=config.user_agent)
            name = f"{deps.name}-guest"
            sessions[name] = Session(name, site, deps.clock)
            accounts.append(
                Account(
                    id=name,
                    transport=deps.name,
                    concurrency=config.guest_concurrency,
                    per_minute=config.guest_per_minute,
                    guest=True,
                ),
            )
        try:
            yield WebTransport(deps.name, sessions, accounts, deps.clock)
        finally:
            tasks.cancel_scope.cancel()


def read_cookies(account: WebAccount) -> dict[str, str]:
    """Read an account's export from its file or its setting.

    Raises:
        ValueError: it cannot be read; the message names the account and no value.

    """
    text = account.cookies
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


KIND = Kind(WebConfig, connect)
