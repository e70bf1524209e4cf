"""Connects the accounts of a transport and follows their changes in the settings and the store.

`ConnectedAccounts` is the same for every transport; a transport says only how one account is connected, in
`connect_account`. Each account runs in a task of its own:

    connect_account(...) entered -> the pool sees the account -> run() until it is removed or changed
        -> no new requests, but the connection stays open until the last request has ended -> connect_account(...) left

An account that is changed is connected again under the same id before the old connection is given up, so no request
finds the account missing. `ConnectedAccount.use` and `unuse` count the requests.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Generic, TypeVar

import anyio
import anyio.abc
import msgspec
import structlog

from protocol.model import Certainty, UpstreamFailed
from transports.account import Account, Finding, failed
from transports.accounts.configured import AccountType, ConfiguredAccount, SettingsT
from transports.accounts.registry import AccountRecord, AccountRegistry
from transports.clock import Clock
from transports.store import ChangeFeed
from transports.store.port import ACCOUNTS
from transports.tasks import background_tasks, wait_for

_LINGER_SECONDS = 1800.0
"""Requests of a removed account may continue for this long."""
_CLOSE_SECONDS = 10.0

_log = structlog.get_logger()


class ConnectionDeps(msgspec.Struct, frozen=True, kw_only=True):
    """Dependencies of connected accounts; `transports.base.Deps` adds those of the whole transport."""

    name: str
    """The transport's name in the settings."""
    clock: Clock
    registry: AccountRegistry
    change_feed: ChangeFeed
    """Announces changes of the store; runs while the transport is connected."""
    only: str | None = None
    """Connect only this account, without background work, because gateways may be running; None: all accounts."""


class ConnectedAccount:
    """An account that is connected; a transport's subclass holds what its requests need."""

    def __init__(self, account: Account) -> None:
        """Start without requests."""
        self.account = account
        self.configured: ConfiguredAccount[Any] | None = None
        """None for a guest."""
        self.removed, self.unused = anyio.Event(), anyio.Event()
        """`unused` is set when the account is removed and its last request has ended."""
        self._uses = 0

    async def run(self) -> None:
        """Do background work; cancelled when the account is removed or changed."""

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

    def remove(self) -> None:
        """Close the account once its last request has ended."""
        self.removed.set()
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self.removed.is_set() and not self._uses:
            self.unused.set()


ConnectedT = TypeVar("ConnectedT", bound=ConnectedAccount)


class ConnectedAccounts(ABC, Generic[SettingsT, ConnectedT]):
    """The connected accounts of one transport."""

    def __init__(
        self, account_type: AccountType[SettingsT], accounts: Sequence[SettingsT], deps: ConnectionDeps
    ) -> None:
        """Read the accounts of the settings; nothing is connected before `open`.

        Raises:
            ValueError: an account of the settings is invalid.

        """
        self._type, self._transport, self._only = account_type, deps.name, deps.only
        self._clock, self._registry, self._change_feed = deps.clock, deps.registry, deps.change_feed
        self._declared = account_type.configure(accounts)
        self._records: Sequence[AccountRecord] = ()
        """The records last read from the store."""
        self._skipped: Mapping[str, str] = {}
        """Why accounts of the store are skipped, by id; each reason is logged once."""
        self._connected: dict[str, ConnectedT] = {}
        self._changing = anyio.Lock()
        self._tasks: anyio.abc.TaskGroup
        self.running = 0
        """Open connections, with those of removed accounts whose requests have not ended."""
        self._closing = False
        self._stopped = anyio.Event()
        self.starting = True
        """Whether the accounts that exist at startup are being connected."""
        self.sequence: Sequence[Account] = ()
        """The pool's view of the accounts; another object when an account is added, changed or removed."""

    @abstractmethod
    def connect_account(
        self, configured: ConfiguredAccount[SettingsT] | None
    ) -> AbstractAsyncContextManager[ConnectedT]:
        """Connect one account for the duration of the context; None: the transport's guest."""

    @property
    def all(self) -> Sequence[ConnectedT]:
        """The connected accounts."""
        return list(self._connected.values())

    def get(self, account: str) -> ConnectedT | None:
        """Return an account; None: it is not connected."""
        return self._connected.get(account)

    def of(self, account: str) -> ConnectedT:
        """Return an account.

        Raises:
            UpstreamFailed: the account was removed; another one may be tried.

        """
        connected = self._connected.get(account)
        if connected is None:
            message = "The upstream's account has been removed from this gateway."
            raise UpstreamFailed(message, code="no_account_available", certainty=Certainty.NOT_SENT)
        return connected

    def missing(self, account: str) -> Finding:
        """Return the finding of a check of an account that is not connected."""
        why = self._skipped.get(account, f"Account {account!r} does not exist.")
        return failed("account", why, "Correct the account, or check its id in the list of accounts.")

    @asynccontextmanager
    async def open(self, *, guest: bool = False) -> AsyncGenerator[None]:
        """Connect the accounts of the settings and, if it is available, the store; then follow the store's changes.

        At the end all accounts are closed, within `_CLOSE_SECONDS`.
        """
        async with background_tasks() as self._tasks:
            try:
                await self._apply(self._declared)
                if guest and self._only is None:
                    await self._tasks.start(self._run_account, None)
                    self._publish()
                try:
                    await self.follow()
                except OSError:
                    _log.warning("accounts_read_failed", transport=self._transport)
                self.starting = False
                self._change_feed.subscribe(ACCOUNTS, self.follow)
                yield
            finally:
                self._closing = True
                for connected in self._connected.values():
                    connected.remove()
                    connected.unused.set()
                if self.running:
                    with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                        await self._stopped.wait()

    async def follow(self) -> None:
        """Apply the accounts added, changed and removed in the store.

        Raises:
            OSError: the store is unavailable.

        """
        self._records = await self._registry.records(self._transport)
        await self._apply_all()

    async def reload(self, accounts: Sequence[SettingsT]) -> Sequence[str]:
        """Read the accounts of the settings and their files again; return the files or accounts that are invalid."""
        self._declared, invalid = self._type.reconfigure(accounts, self._declared)
        await self._apply_all()
        return invalid

    async def _apply_all(self) -> None:
        accounts, skipped = self._type.merge(self._declared, self._records)
        for account, why in skipped.items():
            if self._skipped.get(account) != why:
                _log.warning("account_skipped", account=account, reason=why)
        self._skipped = skipped
        await self._apply(accounts)

    async def _apply(self, accounts: Mapping[str, ConfiguredAccount[SettingsT]]) -> None:
        """Connect exactly these accounts, and the guest if it is connected."""
        wanted = {id_: account for id_, account in accounts.items() if self._only in {None, id_}}
        async with self._changing:
            before = dict(self._connected)
            for connected in before.values():
                if connected.configured is not None and connected.account.id not in wanted:
                    del self._connected[connected.account.id]
                    connected.remove()
            for id_, account in wanted.items():
                old = before.get(id_)
                if self._closing or (old is not None and old.configured == account):
                    continue
                await self._tasks.start(self._run_account, account)  # before the old one goes, so that there is no gap
                if old is not None:
                    old.remove()
            if self._connected != before:
                self._publish()

    def _publish(self) -> None:
        order = {account: number for number, account in enumerate(self._declared)}

        def position(connected: ConnectedT) -> tuple[bool, int, str]:
            account = connected.account.id
            return (connected.configured is None, order.get(account, len(order)), account)

        self.sequence = tuple(connected.account for connected in sorted(self._connected.values(), key=position))

    async def _run_account(
        self, configured: ConfiguredAccount[SettingsT] | None, *, task_status: anyio.abc.TaskStatus[None]
    ) -> None:
        """Run a connected account until it is removed and its last request has ended."""
        self.running += 1
        try:
            async with self.connect_account(configured) as connected:
                connected.configured = configured
                self._connected[connected.account.id] = connected
                task_status.started()
                async with background_tasks() as tasks:
                    if self._only is None:
                        tasks.start_soon(connected.run)
                    await connected.removed.wait()
                if not await wait_for(connected.unused, _LINGER_SECONDS, self._clock):
                    _log.warning("account_closed_in_use", account=connected.account.id)
        finally:
            self.running -= 1
            if self._closing and not self.running:
                self._stopped.set()
