"""The interface of a transport, and how it is registered."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from protocol.model import (
    Exchange,
    FileKeeper,
    GenerationRequest,
    Handle,
    MediaRef,
    MediaStream,
    Model,
    Rendition,
    Selection,
    UpstreamFailed,
    UpstreamModel,
)
from transports.account import Account, Finding, Report
from transports.accounts.configured import AccountSettings, AccountType
from transports.accounts.connected import ConnectionDeps
from transports.accounts.conversations import Conversations
from transports.observer import Observer
from transports.store import Records, Store

ConfigT = TypeVar("ConfigT")
ASGIApp = Callable[..., Any]
Serve = Callable[[ASGIApp, int], AbstractAsyncContextManager[str]]
"""Serves an app on a loopback port (0: a free one) while the context lasts; yields `http://127.0.0.1:PORT`."""


class Transport(Protocol):
    """A way to reach Gemini. `TransportType.connect` yields it and owns its lifetime."""

    @property
    def name(self) -> str:
        """Its name in the settings."""
        ...

    @property
    def site(self) -> str:
        """The upstream's origin, for traces: scheme, host and optional port."""
        ...

    @property
    def accounts(self) -> Sequence[Account]:
        """Its accounts; another sequence object after one was added, changed or removed."""
        ...

    @property
    def discovered(self) -> Sequence[Model]:
        """The models that its upstream lists and clients can request by name; another object after a change."""
        ...

    def offers(self, selection: Selection) -> bool:
        """Return whether it has the model and capability."""
        ...

    def served_by(self, selection: Selection, account: Account) -> UpstreamModel | None:
        """Return the upstream model that the account would be asked for; None: not known yet. No I/O."""
        ...

    def applies(self, selection: Selection) -> frozenset[str]:
        """Return the names of the `AnswerOptions` that it applies to requests of the selection. No I/O."""
        ...

    def quota_of(self, selection: Selection) -> str:
        """Return the name of the quota that the selection uses: its model family, or the upstream's model. No I/O."""
        ...

    async def home(self, request: GenerationRequest) -> str | None:
        """Return the account that should serve this request, because it has the conversation; None: any account."""
        ...

    async def prefers(self, request: GenerationRequest, tier: str) -> str | None:
        """Return the account of a tier (empty: any) that serves this request at less cost; None: all cost the same."""
        ...

    async def open(self, stack: AsyncExitStack, request: GenerationRequest, account: Account) -> Exchange:
        """Send the request with the account and wait for the first event; closing `stack` closes the response at once.

        Raises:
            GatewayError: its class and certainty decide whether failover asks another account.

        """
        ...

    async def cancel(self, handle: Handle) -> None:
        """End long-running work, if the upstream can; as `protocol.model.Engine.cancel`."""
        ...

    def media(self, ref: MediaRef, rendition: Rendition) -> AbstractAsyncContextManager[MediaStream]:
        """Open a media file of one of its accounts; as `protocol.model.Engine.media`."""
        ...

    def examine(self, account: str) -> AsyncGenerator[Finding]:
        """Check the path of an account's requests step by step; a failure is a finding, not an error."""
        ...

    async def export(self, account: str) -> str:
        """Return the account's current credential, in a form that `AccountType.parse` accepts: secret.

        Raises:
            OSError: the store is unavailable.

        """
        ...


@asynccontextmanager
async def no_media(ref: MediaRef) -> AsyncGenerator[MediaStream]:
    """Open nothing: there is no other transport.

    Raises:
        UpstreamFailed: always.

    """
    raise UpstreamFailed(f"The transport '{ref.transport}' is not open here.", code="media_gone")
    yield


class Deps(ConnectionDeps, frozen=True, kw_only=True):
    """Dependencies of a transport."""

    process_id: str
    """Id of this process."""
    store: Store
    local_replica: Records | None = None
    """This machine's copy of the sessions, if the store is shared with other machines."""
    conversations: Conversations
    observer: Observer
    shutting_down: Callable[[], bool] = lambda: False
    """Whether shutdown was announced: background work that another process can do is not begun."""
    report: Callable[[Report], None] = lambda _: None
    """Called with the results of the transport's own checks of its accounts; the pool applies them."""
    serve: Serve
    """Serves an ASGI app on a loopback port."""
    files: FileKeeper
    """Collects files within the process's budgets."""
    media: Callable[[MediaRef], AbstractAsyncContextManager[MediaStream]] = no_media
    """Opens a media file that another transport has."""


async def _reload_nothing(_transport: object, _config: object) -> Sequence[str]:
    """Return that nothing was invalid, because nothing can change."""
    return ()


class TransportType(msgspec.Struct, Generic[ConfigT], frozen=True):
    """A kind of transport, as it is registered in `service.wiring`."""

    config: type[ConfigT]
    """A frozen Struct that forbids unknown fields: the transport's part of the settings."""
    connect: Callable[[ConfigT, Deps], AbstractAsyncContextManager[Transport]]
    check: Callable[[ConfigT], None] = lambda _: None
    """Raises ValueError for settings, accounts apart, that `connect` would refuse; the message contains no secret."""
    secrets: frozenset[str] = frozenset()
    """Names of the settings, anywhere in `config`, whose values are never shown."""
    accounts: AccountType[Any] | None = None
    """Describes its accounts, which are the setting `accounts` of `config`; None: it has none that are configured."""
    tiers: frozenset[str] = frozenset()
    """The tiers of its accounts, by whether they cost money; empty: it has none."""
    tier_lacks: Callable[[str, str], bool] = lambda _tier, _model: False
    """Returns whether accounts of a tier never have an upstream's model."""
    families: frozenset[str] = frozenset()
    """The model families that it has: `Model.family` of the catalogue is one of them."""
    is_simulated: Callable[[ConfigT], bool] = lambda _: False
    """Whether only a simulator on this machine answers with these settings: secrets may be samples then."""
    chosen_model: Callable[[ConfigT, str, Selection], str | None] | None = None
    """Returns the upstream's model that the settings of a transport, by name, choose for a selection; None: it does not
    offer the selection. Without it: the model family."""
    reload: Callable[[Any, ConfigT], Awaitable[Sequence[str]]] = _reload_nothing
    """Makes a transport that `connect` yielded use the accounts of these settings, whose files may have changed; open
    requests continue. Returns the files or accounts that are invalid: they keep their earlier configuration."""

    def model_of(self, config: ConfigT, name: str, selection: Selection) -> str | None:
        """Return what a transport would ask its upstream for, by its settings alone; None: it offers no such model."""
        if self.chosen_model is not None:
            return self.chosen_model(config, name, selection)
        family = selection.model.family
        return family if family in self.families else None

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
