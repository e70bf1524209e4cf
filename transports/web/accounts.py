"""Connect the accounts of the settings and the store and the guest, and follow changes of both.

An account that is removed or changed gets no new requests. Its client and session stay open until its last request has
ended (`ConnectedAccount.use` and `unuse` count them).
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.abc
import msgspec
import structlog

from protocol.model import Certainty, SignedOut, UpstreamFailed
from transports.account import Account, Facts, Report
from transports.accounts.registry import AccountRecord
from transports.base import Deps
from transports.http import client
from transports.store.port import ACCOUNTS
from transports.tasks import background_tasks, wait_for
from transports.web.account_config import (
    ConfiguredAccount,
    account_of,
    claim,
    declared,
    facts_of,
    guest_of,
    kept,
    redeclared,
)
from transports.web.config import WebConfig
from transports.web.media.upload import AccountUploads, UploadForms
from transports.web.session.background import open_background_work
from transports.web.session.client import SiteClient
from transports.web.session.flush import flush
from transports.web.session.rotation import SessionRotation
from transports.web.session.session import CHECK_SESSION, Session
from transports.web.session.store import SessionStore
from transports.web.session.sync import SessionSync
from transports.web.session.token_refresh import TokenRefresh
from transports.web.turns.continuation import ConversationReuse

_LINGER_SECONDS = 1800.0
"""Requests of a removed account may continue for this long."""
_CLOSE_SECONDS = 10.0
_SPREAD_SECONDS = 2.0
"""At startup, session fetches are spread over this time per account, …"""
_LONGEST_SPREAD = 120.0
"""… and at most this time in total."""

_log = structlog.get_logger()


class ConnectedAccount:
    """A connected account with its session, uploads and cookie rotation."""

    def __init__(
        self, account: Account, session: Session, uploads: AccountUploads, rotation: SessionRotation | None
    ) -> None:
        """Start without requests."""
        self.account, self.session, self.uploads, self.rotation = account, session, uploads, rotation
        self.known: ConfiguredAccount | None = None
        """None for the guest."""
        self.leaving = anyio.Event()
        self.over = anyio.Event()
        """Set when the account is leaving and its last request has ended."""
        self._uses = 0

    @contextmanager
    def used(self) -> Generator[None]:
        """Keep the account open inside this context."""
        self.use()
        try:
            yield
        finally:
            self.unuse()

    def use(self) -> None:
        """Keep the account open until `unuse` is called."""
        self._uses += 1

    def unuse(self) -> None:
        """Undo one call of `use`."""
        self._uses -= 1
        self._close_if_unused()

    def leave(self) -> None:
        """Close the account once its last request has ended."""
        self.leaving.set()
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self.leaving.is_set() and not self._uses:
            self.over.set()


class WebAccounts:
    """The connected accounts of one transport."""

    def __init__(self, config: WebConfig, deps: Deps, tasks: anyio.abc.TaskGroup) -> None:
        """Start without accounts; each account runs in its own task.

        Raises:
            ValueError: an account of the settings is invalid.

        """
        self._config, self._deps, self._tasks = config, deps, tasks
        self.site = config.hosts.site
        self._declared = declared(config)
        self._entries: Sequence[AccountRecord] = ()
        """The records last read from the store."""
        self._left_out: dict[str, str] = {}
        """Why accounts of the store are skipped, by id; each reason is logged once."""
        self._changing = anyio.Lock()
        self._open = 0
        self._closing = False
        self._starting = True
        """At startup, session fetches are spread; an account added later fetches its session immediately."""
        self._closed = anyio.Event()
        self.held: dict[str, ConnectedAccount] = {}
        self.sessions: dict[str, Session] = {}
        self.sequence: Sequence[Account] = ()
        """Replaced by a new object when an account is added, changed or removed."""
        self._upload_forms = UploadForms(config.upload_protocol)
        self.reuse = ConversationReuse(deps.conversations, self.sessions, deps.clock, config.reuse_seconds)

    def of(self, account: str) -> ConnectedAccount:
        """Return an account.

        Raises:
            UpstreamFailed: the account was removed; another one may be tried.

        """
        held = self.held.get(account)
        if held is None:
            message = "The upstream's account has been removed from this gateway."
            raise UpstreamFailed(message, code="no_account_available", certainty=Certainty.NOT_SENT)
        return held

    def why_not(self, account: str) -> str:
        """Return why an account is not connected."""
        return self._left_out.get(account, f"Account {account!r} does not exist.")

    async def start(self) -> None:
        """Connect the accounts of the settings and, if it is available, the store; then follow the store's changes."""
        await self._apply(self._declared)
        if self._config.guest and self._deps.only is None:
            await self._tasks.start(self._run_account, None)
            self._publish()
        try:
            await self.follow()
        except OSError:
            _log.warning("accounts_not_read", transport=self._deps.name)
        self._starting = False
        self._deps.change_feed.subscribe(ACCOUNTS, self.follow)
        SessionSync(self._deps, lambda: list(self.held.values())).start()

    async def follow(self) -> None:
        """Apply the accounts added, changed and removed in the store.

        Raises:
            OSError: the store is unavailable.

        """
        if not self._closing:
            self._entries = await self._deps.registry.records(self._deps.name)
            await self._apply(self._all(self._entries))

    async def reload(self, config: WebConfig) -> Sequence[str]:
        """Read the accounts of the settings and their files again; return the files or accounts that are invalid."""
        self._declared, useless = redeclared(config, self._declared)
        if not self._closing:
            await self._apply(self._all(self._entries))
        return useless

    async def close(self) -> None:
        """Close all accounts; wait up to `_CLOSE_SECONDS`."""
        self._closing = True
        for held in self.held.values():
            held.leave()
            held.over.set()
        if self._open:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._closed.wait()

    def _all(self, entries: Sequence[AccountRecord]) -> dict[str, ConfiguredAccount]:
        """Merge the accounts of the settings and the store; of two stored ones with one session, the older is used."""
        wanted, left_out = dict(self._declared), dict[str, str]()
        owners: dict[str, str] = {}
        for known in wanted.values():
            claim(owners, known)
        for entry in sorted(entries, key=lambda entry: (entry.created, entry.id)):
            if entry.id in self._declared:
                left_out[entry.id] = f"account {entry.id!r}: ignored, because the settings have an account of this id"
                continue
            try:
                known = kept(entry)
                claim(owners, known)
            except ValueError as error:
                left_out[entry.id] = str(error)
            else:
                wanted[entry.id] = known
        for account, why in left_out.items():
            if self._left_out.get(account) != why:
                _log.warning("account_skipped", account=account, why=why)
        self._left_out = left_out
        return wanted

    async def _apply(self, wanted: dict[str, ConfiguredAccount]) -> None:
        only = self._deps.only
        wanted = {account: known for account, known in wanted.items() if only in {None, account}}
        async with self._changing:
            changed = False
            for account, held in list(self.held.items()):
                if held.known is not None and account not in wanted:
                    held.leave()
                    del self.held[account], self.sessions[account]
                    changed = True
            for account, known in wanted.items():
                held = self.held.get(account)
                if self._closing or (held is not None and held.known == known):
                    continue
                await self._tasks.start(self._run_account, known)  # before the old one leaves, so that there is no gap
                if held is not None:
                    held.leave()
                changed = True
            if changed:
                self._publish()

    def _publish(self) -> None:
        order = {account: number for number, account in enumerate(self._declared)}
        last = len(order)
        known = sorted(
            self.held.values(), key=lambda held: (held.known is None, order.get(held.account.id, last), held.account.id)
        )
        self.sequence = tuple(held.account for held in known)

    async def _run_account(self, known: ConfiguredAccount | None, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Run a connected account until it leaves and its last request has ended."""
        self._open += 1
        try:
            async with self._opened(known) as held:
                self.held[held.account.id], self.sessions[held.account.id] = held, held.session
                task_status.started()
                async with background_tasks() as tasks:
                    for run in self._runs(held):
                        tasks.start_soon(run)
                    await held.leaving.wait()
                if not await wait_for(held.over, _LINGER_SECONDS, self._deps.clock):
                    _log.warning("account_closed_in_use", account=held.account.id)
        finally:
            self._open -= 1
            if self._closing and not self._open:
                self._closed.set()

    def _runs(self, held: ConnectedAccount) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        session_store = held.session.site.session_store
        if held.rotation is None or session_store is None or self._deps.only is not None:
            return []
        spread = min(_LONGEST_SPREAD, _SPREAD_SECONDS * max(1, len(self._declared))) if self._starting else 0.0
        fresh = TokenRefresh(held.session, self._deps.clock, spread)
        saving = partial(flush, session_store, self._deps.clock)
        return [held.rotation.run, saving, fresh.run, partial(self.reuse.delete_expired, held.account.id)]

    def _report(self, session: Session, check: str, error: SignedOut | None) -> None:
        """Report the result of a session check to the pool, unless the session was replaced."""
        if self.sessions.get(session.name) is session and self._deps.only is None:
            self._deps.report(Report(account=session.name, check=check, error=error, served=check == CHECK_SESSION))

    @asynccontextmanager
    async def _opened(self, known: ConfiguredAccount | None) -> AsyncGenerator[ConnectedAccount]:
        config, deps = self._config, self._deps
        settings = known.settings if known is not None else None
        async with AsyncExitStack() as stack:
            proxy = settings.proxy if settings is not None else None
            http = await stack.enter_async_context(client(config.timeouts, proxy=proxy, ca_file=config.ca_file))
            background = await stack.enter_async_context(open_background_work(deps.clock))
            if known is None or settings is None:
                account = guest_of(config, deps.name)
                session = Session(account.id, SiteClient(config, http, background, session_store=None), deps.clock)
                yield ConnectedAccount(account, session, AccountUploads(session, deps.clock, self._upload_forms), None)
                return
            session_store = SessionStore(settings.id, known.cookies, deps.store, deps.clock, deps.local_replica)
            await _load(session_store, settings.id)
            site = SiteClient(config, http, background, session_store=session_store, account=settings)
            session = Session(settings.id, site, deps.clock, capacity=settings.capacity, field13=settings.field13)
            session.report = partial(self._report, session)
            account = account_of(settings, deps.name, _LiveFacts(session, session_store))
            rotation = SessionRotation(session, session_store, deps)
            held = ConnectedAccount(account, session, AccountUploads(session, deps.clock, self._upload_forms), rotation)
            held.known = known
            yield held


async def _load(session_store: SessionStore, account: str) -> None:
    """Load the stored session; if the store is unavailable, it is loaded when the session is fetched."""
    try:
        await session_store.load()
    except OSError:
        _log.warning("session_not_loaded", account=account)


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
    async with background_tasks() as tasks:
        accounts = WebAccounts(config, deps, tasks)
        try:
            await accounts.start()
            yield accounts
        finally:
            await accounts.close()
