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
from transports.account import Account, Facts, Finding, Report
from transports.accounts.registry import AccountRecord, AccountRegistry
from transports.clock import Clock
from transports.conversations import ConversationStore
from transports.observer import Observer
from transports.store import ChangeFeed, Store

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
        """Return what signs the account's requests as it is now, in a form that `Kind.admit` takes: secret.

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
    local_replica: Store | None = None
    """This machine's own copy of the sessions, beside a store that other machines share."""
    registry: AccountRegistry
    change_feed: ChangeFeed
    """Tells of changes in the store; runs for as long as the transport is connected."""
    conversations: ConversationStore
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
    """Find nothing wrong."""


def _none(_: object) -> Sequence[Account]:
    """Name nothing."""
    return ()


def _no_files(_: object) -> Sequence[Path]:
    """Name nothing."""
    return ()


async def _reload_nothing(_transport: object, _config: object) -> Sequence[str]:
    """Have nothing that could change."""
    return ()


def _secret(entry: AccountRecord) -> str:
    """Take two accounts with one secret as one."""
    return entry.secret


def _no_facts(_: bytes) -> Facts:
    """Know nothing."""
    return Facts()


def _admit_none(_: object, entry: AccountRecord) -> tuple[AccountRecord, Account]:
    """Take no accounts by command."""
    raise ValueError(f"the transport {entry.transport!r} takes no accounts by command")


class Kind(msgspec.Struct, Generic[ConfigT], frozen=True):
    """A registered sort of transport."""

    config: type[ConfigT]
    """A frozen Struct that forbids unknown fields: its part of the settings."""
    connect: Callable[[ConfigT, Deps], AbstractAsyncContextManager[Transport]]
    check: Callable[[ConfigT], None] = _accept
    """Raises ValueError for settings that `connect` would refuse; asks no upstream. The message names no secret."""
    secrets: frozenset[str] = frozenset()
    """The settings that are not to be shown, wherever they stand in `config`, by their names."""
    accounts: Callable[[ConfigT], Sequence[Account]] = _none
    """Returns the accounts that the settings name: no two ids are the same, in any transport."""
    files: Callable[[ConfigT], Sequence[Path]] = _no_files
    """Returns the files that hold the accounts' secrets."""
    reload: Callable[[Any, ConfigT], Awaitable[Sequence[str]]] = _reload_nothing
    """Has a transport that `connect` yielded take over the settings' accounts as these and their files are now; what is
    under way goes on. Returns the files, or else the accounts, that cannot be used: what they held before holds."""
    admit: Callable[[ConfigT, AccountRecord], tuple[AccountRecord, Account]] = _admit_none
    """Returns an account of the store as it is to be kept, and as the pool knows it. Raises ValueError, which names no
    secret, where `connect` could not use it."""
    identity: Callable[[AccountRecord], str] = _secret
    """Returns, of an account that was admitted, what no two accounts may have in common: secret."""
    facts: Callable[[bytes], Facts] = _no_facts
    """Returns facts read from a session of this transport in the store."""
