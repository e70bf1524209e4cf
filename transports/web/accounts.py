"""Connect accounts to the site: each with a session, its uploads and its cookie rotation.

The accounts of the settings and the store are followed by `transports.accounts.connected`.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import structlog

from protocol.model import SignedOut
from transports.account import Account, Facts, Report
from transports.accounts.configured import ConfiguredAccount
from transports.accounts.connected import ConnectedAccount, ConnectedAccounts
from transports.base import Deps
from transports.http import client
from transports.tasks import background_tasks
from transports.web.account_config import ACCOUNTS, facts_of, guest_of
from transports.web.config import WebAccount, WebConfig
from transports.web.media.upload import AccountUploads, UploadForms
from transports.web.session.background import open_background_work
from transports.web.session.client import SiteClient
from transports.web.session.cookie_export import parse_export
from transports.web.session.rotation import SessionRotation
from transports.web.session.session import CHECK_SESSION, Session
from transports.web.session.store import SessionStore, flush
from transports.web.session.sync import SessionSync
from transports.web.session.token_refresh import TokenRefresh
from transports.web.turns.continuation import ConversationReuse

_SPREAD_SECONDS = 2.0
"""At startup, session fetches are spread over this time per account, …"""
_LONGEST_SPREAD = 120.0
"""… and at most this time in total."""

_log = structlog.get_logger()


class SiteAccount(ConnectedAccount):
    """An account connected to the site, with its session, uploads and cookie rotation."""

    def __init__(
        self,
        account: Account,
        session: Session,
        uploads: AccountUploads,
        rotation: SessionRotation | None = None,
        background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    ) -> None:
        """`background` runs until the account is removed; a guest has neither that nor a rotation."""
        super().__init__(account)
        self.session, self.uploads, self.rotation, self._background = session, uploads, rotation, background

    async def run(self) -> None:
        """Rotate the cookies, save them, refresh the tokens and delete expired conversations."""
        async with background_tasks() as tasks:
            for run in self._background:
                tasks.start_soon(run)
            await self.removed.wait()


class WebAccounts(ConnectedAccounts[WebAccount, SiteAccount]):
    """The connected accounts of one web transport."""

    def __init__(self, config: WebConfig, deps: Deps) -> None:
        """Read the accounts of the settings.

        Raises:
            ValueError: an account of the settings is invalid.

        """
        super().__init__(ACCOUNTS, config.accounts, deps)
        self.site = config.hosts.site
        self._config, self._deps = config, deps
        self._upload_forms = UploadForms(config.upload_protocol)
        self._spread = min(_LONGEST_SPREAD, _SPREAD_SECONDS * max(1, len(config.accounts)))
        self.reuse = ConversationReuse(deps.conversations, self.session_of, deps.clock, config.reuse_seconds)

    def session_of(self, account: str) -> Session | None:
        """Return an account's session; None: it is not connected."""
        connected = self.get(account)
        return connected.session if connected is not None else None

    @asynccontextmanager
    async def connect_account(self, configured: ConfiguredAccount[WebAccount] | None) -> AsyncGenerator[SiteAccount]:
        """Open an account's HTTP client and session; the session is fetched on first use or in the background."""
        config, deps = self._config, self._deps
        async with AsyncExitStack() as stack:
            proxy = configured.settings.proxy if configured is not None else None
            http = await stack.enter_async_context(client(config.timeouts, proxy=proxy, ca_file=config.ca_file))
            background = await stack.enter_async_context(open_background_work(deps.clock))
            if configured is None:
                account = guest_of(config, deps.name)
                session = Session(account.id, SiteClient(config, http, background, session_store=None), deps.clock)
                yield SiteAccount(account, session, AccountUploads(session, deps.clock, self._upload_forms))
                return
            settings, cookies = configured.settings, parse_export(configured.credential)
            session_store = SessionStore(settings.id, cookies, deps.store.records, deps.clock, deps.local_replica)
            try:
                await session_store.load()
            except OSError:  # it is loaded when the session is fetched
                _log.warning("session_load_failed", account=settings.id)
            site = SiteClient(config, http, background, session_store=session_store, account=settings)
            session = Session(settings.id, site, deps.clock, capacity=settings.capacity, field13=settings.field13)
            session.report = partial(self._report, session)
            rotation = SessionRotation(session, session_store, deps)
            refresh = TokenRefresh(session, deps.clock, self._spread if self.starting else 0.0)
            yield SiteAccount(
                ACCOUNTS.account_of(settings, deps.name, _LiveFacts(session, session_store), site.reach),
                session,
                AccountUploads(session, deps.clock, self._upload_forms),
                rotation,
                (
                    rotation.run,
                    partial(flush, session_store, deps.clock),
                    refresh.run,
                    partial(self.reuse.delete_expired, settings.id),
                ),
            )

    def _report(self, session: Session, check: str, error: SignedOut | None) -> None:
        """Report the result of a session check to the pool, unless the session was replaced."""
        if self.session_of(session.name) is session and self._deps.only is None:
            self._deps.report(Report(account=session.name, check=check, error=error, served=check == CHECK_SESSION))


class _LiveFacts:
    """Return an account's facts; cached, because the pool reads them often."""

    def __init__(self, session: Session, session_store: SessionStore) -> None:
        self._session, self._session_store = session, session_store
        self._saved, self._facts = session_store.saved, facts_of(session_store.saved)

    def __call__(self) -> Facts:
        saved, session = self._session_store.saved, self._session
        if saved is not self._saved:
            self._saved, self._facts = saved, facts_of(saved)
        if session.plan != self._facts.plan or session.quotas != self._facts.quotas:
            self._facts = msgspec.structs.replace(self._facts, plan=session.plan, quotas=session.quotas)
        return self._facts


@asynccontextmanager
async def open_accounts(config: WebConfig, deps: Deps) -> AsyncGenerator[WebAccounts]:
    """Connect the accounts for the duration of the context.

    Raises:
        ValueError: an account of the settings is invalid.

    """
    accounts = WebAccounts(config, deps)
    async with accounts.open(guest=config.guest):
        SessionSync(deps, lambda: accounts.all).start()
        yield accounts
