"""One way to Gemini, and how it is registered."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from protocol.model import Event, GenerationRequest, MediaRef, MediaStream, Rendition, Selection, Served
from transports.clock import Clock

ConfigT = TypeVar("ConfigT")
ASGIApp = Callable[..., Any]


def _unchanging() -> int:
    """Answer for a credential that never changes."""
    return 0


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One credential, as the pool knows it; what signs a request stays with the transport."""

    id: str
    """Chosen by the operator; unique over all transports; fit for logs."""
    transport: str
    concurrency: int = 5
    """How many requests it may carry at once."""
    per_minute: int = 0
    """How many it may begin in a minute; 0: no limit."""
    guest: bool = False
    """It is nobody's account: only models that need none."""
    egress: str = ""
    """The way out that its requests take, without credentials; accounts with the same one share an address."""
    credential: Callable[[], int] = _unchanging
    """Returns a number that changes whenever its credential does: a parked account is then worth another try."""


class Upstream(Protocol):
    """The answer of one account to one request, as it comes; iterate it once."""

    @property
    def served(self) -> Served:
        """Who answers."""
        ...

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield events until `Finish`; raise GatewayError where the answer breaks off."""
        ...


class Transport(Protocol):
    """One way to Gemini. `connect` of its Kind yields it and owns its lifetime."""

    @property
    def name(self) -> str:
        """The name it has in the settings."""
        ...

    @property
    def accounts(self) -> Sequence[Account]:
        """Its accounts; constant while it is connected."""
        ...

    def offers(self, selection: Selection) -> bool:
        """Say whether it has the model and capability."""
        ...

    async def home(self, request: GenerationRequest) -> str | None:
        """Return the account that this request is best asked of, where something of it is there already."""
        ...

    def open(self, request: GenerationRequest, account: Account) -> AbstractAsyncContextManager[Upstream]:
        """Send the request with the account; leaving the context ends the upstream response at once.

        Raises:
            GatewayError: with the certainty that rotation needs to decide whether to go on.

        """
        ...

    def media(self, ref: MediaRef, rendition: Rendition) -> AbstractAsyncContextManager[MediaStream]:
        """Open a piece of media of one of its accounts; as `protocol.model.Engine.media`."""
        ...


class SessionStore(Protocol):
    """Keeps what accounts must not lose. Every method may raise OSError when the store is out of order."""

    async def load(self, account: str) -> tuple[bytes, int] | None:
        """Return an account's saved session and its version."""
        ...

    async def save(self, account: str, value: bytes, *, expected: int) -> int | None:
        """Save durably when the stored version is `expected` (0: none yet); return the new version, or None."""
        ...

    async def acquire(self, account: str, owner: str, ttl: float) -> bool:
        """Become the account's only writer for `ttl` seconds, unless another owner is."""
        ...

    async def release(self, account: str, owner: str) -> None:
        """Stop being the account's only writer, if `owner` is."""
        ...


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation that an upstream keeps, to be gone on with."""

    account: str
    conversation: bytes
    """The transport's own words for where it is."""


class ConversationStore(Protocol):
    """Remembers by a key, which whoever may go on with it can work out, the conversations that upstreams keep.

    It may forget any of them at any time but for `overdue`, which names what the upstream should forget too.
    Every method may raise OSError when the store is out of order.
    """

    async def keep(self, key: bytes, kept: Kept, *, seconds: float) -> None:
        """Remember a conversation for so long; another one that the key led to is overdue."""
        ...

    async def whose(self, key: bytes) -> str | None:
        """Return the account of the conversation of this key, if there is one to be gone on with."""
        ...

    async def take(self, key: bytes, account: str) -> Kept | None:
        """Return the account's conversation of this key and forget it: nobody else goes on with it from here."""
        ...

    async def overdue(self, account: str, *, most: int) -> list[Kept]:
        """Return conversations of an account whose time is over, and forget them; `most` of them at once."""
        ...


class Observer(Protocol):
    """Hears what happens at upstreams; subscribers make metrics of it."""

    def upstream_request(self, transport: str) -> None:
        """A request is about to be sent."""
        ...

    def upstream_error(self, transport: str, kind: str) -> None:
        """A request ended with an error; `kind` is the class name of a GatewayError."""
        ...

    def leased(self, transport: str, change: int) -> None:
        """An account was leased (1) or given back (-1)."""
        ...


class Deps(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport is given besides its own settings."""

    name: str
    """The name it has in the settings."""
    clock: Clock
    store: SessionStore
    conversations: ConversationStore
    observer: Observer
    serve: Callable[[ASGIApp], AbstractAsyncContextManager[str]]
    """Serves an ASGI app on a free loopback port for as long as the context lasts; yields `http://127.0.0.1:PORT`."""


def _accept(_: object) -> None:
    """Find nothing wrong."""


def _none(_: object) -> Sequence[str]:
    """Name nothing."""
    return ()


class Kind(msgspec.Struct, Generic[ConfigT], frozen=True):
    """A registered sort of transport."""

    config: type[ConfigT]
    """A frozen Struct that forbids unknown fields: its part of the settings."""
    connect: Callable[[ConfigT, Deps], AbstractAsyncContextManager[Transport]]
    check: Callable[[ConfigT], None] = _accept
    """Raises ValueError for settings that `connect` would refuse; asks no upstream. The message names no secret."""
    secrets: frozenset[str] = frozenset()
    """The settings that are not to be shown, wherever they stand in `config`, by their names."""
    accounts: Callable[[ConfigT], Sequence[str]] = _none
    """Returns the ids of the accounts that the operator has named: no two are the same, in any transport."""
