"""One way to Gemini, and how it is registered."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from protocol.model import (
    Exchange,
    FileKeeper,
    GenerationRequest,
    MediaRef,
    MediaStream,
    Rendition,
    Selection,
    UpstreamModel,
)
from transports.account import Account, Finding, Report
from transports.accounts.configured import AccountSettings, AccountType
from transports.accounts.conversations import Conversations
from transports.accounts.registry import AccountRegistry
from transports.clock import Clock
from transports.observer import Observer
from transports.store import ChangeFeed, Records, Store

ConfigT = TypeVar("ConfigT")
ASGIApp = Callable[..., Any]
Serve = Callable[[ASGIApp, int], AbstractAsyncContextManager[str]]
"""Serves an app on a loopback port (0: a free one) while the context lasts; yields `http://127.0.0.1:PORT`."""


class Transport(Protocol):
    """One way to Gemini. `connect` of its Kind yields it and owns its lifetime."""

    @property
    def name(self) -> str:
        """The name it has in the settings."""
        ...

    @property
    def site(self) -> str:
        """The upstream's origin, for traces: scheme, host and optional port."""
        ...

    @property
    def accounts(self) -> Sequence[Account]:
        """Its accounts now: another sequence whenever one was added, changed or removed."""
        ...

    def offers(self, selection: Selection) -> bool:
        """Say whether it has the model and capability."""
        ...

    def served_by(self, selection: Selection, account: Account) -> UpstreamModel | None:
        """Return the upstream's model that the account is asked for; None where that is not known yet. No I/O."""
        ...

    async def home(self, request: GenerationRequest) -> str | None:
        """Return the account that this request is best asked of, where something of it is there already."""
        ...

    async def open(self, stack: AsyncExitStack, request: GenerationRequest, account: Account) -> Exchange:
        """Send the request with the account and wait for the first event; closing `stack` closes the response at once.

        Raises:
            GatewayError: with the certainty that rotation needs to decide whether to go on.

        """
        ...

    def media(self, ref: MediaRef, rendition: Rendition) -> AbstractAsyncContextManager[MediaStream]:
        """Open a piece of media of one of its accounts; as `protocol.model.Engine.media`."""
        ...

    def examine(self, account: str) -> AsyncIterator[Finding]:
        """Walk the whole path with one account; tell each step when it is done. What fails is a finding, no error."""
        ...

    async def export(self, account: str) -> str:
        """Return what signs the account's requests as it is now, in a form that `AccountType.parse` accepts: secret.

        Raises:
            OSError: the store is out of order.

        """
        ...


def _unheard(_: Report) -> None:
    """Drop a report."""


class Deps(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport is given besides its own settings."""

    name: str
    """The name it has in the settings."""
    replica: str
    """This process's own word: who holds leases, and who is there."""
    clock: Clock
    store: Store
    local_replica: Records | None = None
    """This machine's own copy of the sessions, beside a store that other machines share."""
    registry: AccountRegistry
    change_feed: ChangeFeed
    """Tells of changes in the store; runs for as long as the transport is connected."""
    conversations: Conversations
    observer: Observer
    shutting_down: Callable[[], bool] = lambda: False
    """Whether the process is about to end: what can wait for another one is not begun."""
    report: Callable[[Report], None] = _unheard
    """Takes what the transport finds out about its accounts by itself; the pool sets their state by it."""
    only: str | None = None
    """Connect this account alone, and begin nothing with it that was not asked for: others are at work beside."""
    serve: Serve
    """Serves an ASGI app beside the gateway."""
    files: FileKeeper
    """Collects files within the process's budgets."""


def _accept(_: object) -> None:
    """Accept any settings."""


async def _reload_nothing(_transport: object, _config: object) -> Sequence[str]:
    """Return that nothing was invalid, because nothing can change."""
    return ()


class Kind(msgspec.Struct, Generic[ConfigT], frozen=True):
    """A kind of transport, as it is registered in `service.wiring`."""

    config: type[ConfigT]
    """A frozen Struct that forbids unknown fields: the transport's part of the settings."""
    connect: Callable[[ConfigT, Deps], AbstractAsyncContextManager[Transport]]
    check: Callable[[ConfigT], None] = _accept
    """Raises ValueError for settings, accounts apart, that `connect` would refuse; the message contains no secret."""
    secrets: frozenset[str] = frozenset()
    """Names of the settings, anywhere in `config`, whose values are never shown."""
    accounts: AccountType[Any] | None = None
    """Describes its accounts, which are the setting `accounts` of `config`; None: it has none that are configured."""
    families: frozenset[str] = frozenset()
    """The model families that it has: `Model.family` of the catalogue is one of them."""
    reload: Callable[[Any, ConfigT], Awaitable[Sequence[str]]] = _reload_nothing
    """Makes a transport that `connect` yielded use the accounts of these settings, whose files may have changed; open
    requests continue. Returns the files or accounts that are invalid: they keep their earlier configuration."""

    def account_settings(self, config: Any) -> Sequence[AccountSettings]:
        """Return the accounts of the settings."""
        return config.accounts if self.accounts is not None else ()

    def account_files(self, config: ConfigT) -> list[Path]:
        """Return the files that hold the credentials of the accounts of the settings."""
        found = [self.accounts.file_of(one) for one in self.account_settings(config)] if self.accounts else []
        return [file for file in found if file is not None]

    def validate(self, config: ConfigT) -> None:
        """Check the settings and their accounts; ask no upstream.

        Raises:
            ValueError: `connect` would refuse them; the message contains no secret.

        """
        if self.accounts is not None:
            self.accounts.configure(self.account_settings(config))
        self.check(config)
