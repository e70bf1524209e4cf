"""The transport for the official Gemini API: sends requests with the operator's keys.

`TRANSPORT_TYPE` registers it; `connect` opens its keys.

Source: "Base".
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from protocol.model import (
    Capability,
    Disconnected,
    Exchange,
    GatewayError,
    GenerationRequest,
    Handle,
    MediaRef,
    MediaStream,
    Rendition,
    Served,
    SignedOut,
    UpstreamFailed,
)
from transports.account import Account, Finding, failed, ok
from transports.api.accounts import KeyAccounts, open_accounts, tier_lacks
from transports.api.config import ApiConfig
from transports.api.generated_file import is_generated, open_generated
from transports.api.interaction_follower import Polling
from transports.api.interaction_request import INTERACTION_DEFAULTS, film_to_edit
from transports.api.interaction_run import InteractionDeps, InteractionRun, cancel_interaction, place_of
from transports.api.keys import ACCOUNTS
from transports.base import Deps, TransportType
from transports.generate_content import models
from transports.generate_content.config import on_this_machine
from transports.generate_content.errors import ModelMissing
from transports.generate_content.kept_media import KeptMedia
from transports.generate_content.transport import OFFERED, ModelTransport
from transports.http import trusted

_LONG_RUNNING = frozenset({Capability.VIDEO, Capability.DEEPSEARCH})


class ApiTransport(ModelTransport[KeyAccounts]):
    """Serve requests through the official API."""

    defaults: Mapping[str, str] = {**models.DEFAULTS, **INTERACTION_DEFAULTS}
    offered = OFFERED | _LONG_RUNNING

    def __init__(self, config: ApiConfig, accounts: KeyAccounts, deps: Deps) -> None:
        """Use the given connected keys."""
        super().__init__(config, config.base_url, accounts, deps)
        self._polling = Polling(deps.clock, config.poll_seconds)

    async def open(self, stack: AsyncExitStack, request: GenerationRequest, account: Account) -> Exchange:
        """Send the request with a key; see `transports.base.Transport.open`."""
        model = self.served_by(request.selection, account)
        if request.selection.capability not in _LONG_RUNNING or model is None:
            return await super().open(stack, request, account)
        key = self.connected.of(account.id)
        key.use()
        stack.callback(key.unuse)
        served = Served(transport=self.name, account=account.id, requested=model, answered=model)
        media = KeptMedia(self._blobs, self.name, account.id, request)
        deps = InteractionDeps(media=media, files=self._files, polling=self._polling)
        run = InteractionRun(key, served, request, deps)
        try:
            return await run.open(stack)
        except ModelMissing:
            key.lacking.add(model.id)
            raise

    async def home(self, request: GenerationRequest) -> str | None:
        """Return the key that made the film which is edited; otherwise as `ModelTransport.home`."""
        film = film_to_edit(request)
        if film is None:
            return await super().home(request)
        own = film.ref.transport == self.name and self.connected.get(film.ref.account) is not None
        return film.ref.account if own else None

    async def cancel(self, handle: Handle) -> None:
        """Cancel an interaction; see `protocol.model.Engine.cancel`."""
        key = self.connected.of(handle.account)
        with key.used():
            await cancel_interaction(key, place_of(handle).id)

    @asynccontextmanager
    async def media(self, ref: MediaRef, rendition: Rendition) -> AsyncGenerator[MediaStream]:
        """Open a file of the store, or one that the API keeps; see `protocol.model.Engine.media`."""
        if not is_generated(ref):
            async with super().media(ref, rendition) as kept:
                yield kept
            return
        key = self.connected.get(ref.account)
        if key is None:
            raise UpstreamFailed("The key that generated this file was removed.", code="media_gone")
        with key.used():
            async with open_generated(key.api, ref) as stream:
                yield stream

    async def examine(self, account: str) -> AsyncGenerator[Finding]:
        """Check that the API accepts a key; see `transports.base.Transport.examine`."""
        key = self.connected.get(account)
        if key is None:
            yield self.connected.missing(account)
            return
        with key.used():
            try:
                await key.read_models()
            except SignedOut as error:
                yield failed("key", error.message, error.advice)
                return
            except Disconnected as error:
                yield failed(
                    "key", error.message, "Check the network, `base_url` of [transports.api] and the key's proxy."
                )
                return
            except GatewayError as error:
                yield failed("key", error.message, "The failure may be temporary; check again in a minute.")
                return
        yield ok("key", f"The API accepts the key and lists {len(key.models)} models.")


def check(config: ApiConfig) -> None:
    """Check the settings other than the keys.

    Raises:
        ValueError: the certificates cannot be used; the message names their file.

    """
    trusted(config.ca_file)


@asynccontextmanager
async def connect(config: ApiConfig, deps: Deps) -> AsyncGenerator[ApiTransport]:
    """Connect the keys of the settings and the store.

    Raises:
        ValueError: a key is invalid, or as `check`.

    """
    check(config)
    async with open_accounts(config, deps) as accounts:
        yield ApiTransport(config, accounts, deps)


TRANSPORT_TYPE = TransportType(
    ApiConfig,
    connect,
    check,
    secrets=frozenset({"key", "proxy"}),
    accounts=ACCOUNTS,
    tiers=frozenset({"free", "paid"}),
    tier_lacks=tier_lacks,
    families=frozenset({"pro", "flash", "flash-lite", *models.OWN_FAMILIES}),
    is_simulated=lambda config: on_this_machine(config.base_url),
    chosen_model=ApiTransport.chosen_model,
    reload=ApiTransport.reload,
)
