"""The transport for the official Gemini API: sends requests with the operator's keys.

`TRANSPORT_TYPE` registers it; `connect` opens its keys.

Source: "Base".
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from protocol.model import (
    Capability,
    Exchange,
    GatewayError,
    GenerationRequest,
    MediaRef,
    MediaStream,
    Rendition,
    Selection,
    SignedOut,
    Unsupported,
    UpstreamModel,
)
from transports.account import Account, Finding, failed, ok
from transports.api import models
from transports.api.accounts import KeyAccounts, open_accounts
from transports.api.config import ApiConfig
from transports.api.kept_media import KeptMedia, open_kept
from transports.api.keys import ACCOUNTS
from transports.api.model_call import ModelCall
from transports.base import Deps, TransportType
from transports.generate_content.errors import ModelMissing, ModelNeverAllowed
from transports.generate_content.signatures import Signatures
from transports.http import trusted
from transports.store.blobs import Blobs

_OFFERED = frozenset({Capability.CHAT, Capability.IMAGEN})


class ApiTransport:
    """Serve requests through the official API."""

    def __init__(self, config: ApiConfig, accounts: KeyAccounts, deps: Deps) -> None:
        """Use the given connected keys."""
        self.name, self.site = deps.name, config.base_url
        self.connected, self._config = accounts, config
        self._signatures = Signatures(deps.store.records)
        self._blobs = Blobs(deps.store.records, config.media_seconds)

    @property
    def accounts(self) -> Sequence[Account]:
        """See `transports.base.Transport.accounts`."""
        return self.connected.sequence

    def offers(self, selection: Selection) -> bool:
        """Return whether a key can serve the selection."""
        model = self._model(selection)
        if model is None or selection.capability not in _OFFERED:
            return False
        return any(model not in key.lacking for key in self.connected.all)

    def served_by(self, selection: Selection, account: Account) -> UpstreamModel | None:
        """See `transports.base.Transport.served_by`."""
        key, model = self.connected.get(account.id), self._model(selection)
        if key is None or model is None:
            return None
        return UpstreamModel(id=model, name=key.models.get(model, ""), family=selection.model.family)

    def quota_of(self, selection: Selection) -> str:
        """Return the model, since each has its own quotas."""
        return self._model(selection) or selection.model.family

    async def home(self, request: GenerationRequest) -> str | None:
        """Return None: the API keeps no conversations."""
        del request
        return None

    async def open(self, stack: AsyncExitStack, request: GenerationRequest, account: Account) -> Exchange:
        """Send the request with a key; see `transports.base.Transport.open`."""
        key, model = self.connected.of(account.id), self.served_by(request.selection, account)
        if model is None:
            raise Unsupported(f"The upstream has no model for '{request.selection.id}'.", param="model")
        key.use()
        stack.callback(key.unuse)
        media = KeptMedia(self._blobs, self.name, account.id, request.selection.capability)
        try:
            return await ModelCall(self._config, key, model, self._signatures, media).open(stack, request, self.name)
        except (ModelMissing, ModelNeverAllowed):
            key.lacking.add(model.id)
            raise

    def _model(self, selection: Selection) -> str | None:
        return models.choose(selection, self.name, self._config.models, self.connected.listed)

    def media(self, ref: MediaRef, rendition: Rendition) -> AbstractAsyncContextManager[MediaStream]:
        """Open a file; it has one rendition. See `protocol.model.Engine.media`."""
        del rendition
        return open_kept(self._blobs, ref)

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
            except GatewayError as error:
                yield failed("key", error.message, "The failure may be temporary; check again in a minute.")
                return
        yield ok("key", f"The API accepts the key and lists {len(key.models)} models.")

    async def export(self, account: str) -> str:
        """Return the key; see `transports.base.Transport.export`."""
        configured = self.connected.of(account).configured
        return configured.credential if configured is not None else ""

    async def reload(self, config: ApiConfig) -> Sequence[str]:
        """Apply the keys of the settings; see `transports.base.TransportType.reload`."""
        return await self.connected.reload(config.accounts)


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
    families=frozenset({"pro", "flash", "flash-lite"}),
    is_simulated=lambda config: config.on_this_machine,
    reload=ApiTransport.reload,
)
