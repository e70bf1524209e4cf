"""The base of the transports of the API: it asks models with accounts, each with its own list of models.

Source: "Base".
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Generic, TypeVar

import msgspec

from protocol.model import (
    Capability,
    Exchange,
    GenerationRequest,
    Handle,
    MediaRef,
    MediaStream,
    Model,
    Rendition,
    Role,
    Selection,
    ToolCall,
    Unsupported,
    UpstreamModel,
)
from transports.account import Account, Finding
from transports.base import Deps
from transports.earlier_media import EarlierMedia
from transports.generate_content import models
from transports.generate_content.accounts import ModelAccount, ModelAccounts
from transports.generate_content.answer_options import options_applied
from transports.generate_content.book_pictures import BookPictures
from transports.generate_content.config import ModelsConfig
from transports.generate_content.context_repeats import Repeats
from transports.generate_content.embedding_call import open_embeddings
from transports.generate_content.errors import ModelMissing
from transports.generate_content.kept_media import KeptMedia, is_kept, open_kept
from transports.generate_content.listed_models import ModelLists, discovered_models
from transports.generate_content.model_call import CallDeps, ModelCall
from transports.generate_content.request_files import RequestFiles
from transports.generate_content.signatures import Signatures
from transports.store.blobs import Blobs

OFFERED = frozenset(
    {
        *(Capability.CHAT, Capability.IMAGEN, Capability.CANVAS, Capability.STORYBOOK, Capability.EMBEDDING),
        *(Capability.SPEECH, Capability.TRANSCRIPTION),
    }
)
AccountsT = TypeVar("AccountsT", bound=ModelAccounts[Any, Any])


class ModelTransport(ABC, Generic[AccountsT]):
    """Serve requests by models of the API."""

    defaults: Mapping[str, str] = models.DEFAULTS
    """The models that are asked by default."""
    offered: frozenset[Capability] = OFFERED

    def __init__(self, config: ModelsConfig, site: str, accounts: AccountsT, deps: Deps) -> None:
        """Use the given connected accounts."""
        self.name, self.site = deps.name, site
        self.connected, self._config = accounts, config
        self._seen: ModelLists | None = None
        self._discovered: Sequence[Model] = ()
        """The models of the lists `_seen`."""
        self._signatures = Signatures(deps.store.records)
        self._blobs = Blobs(deps.store.records, config.media_seconds, config.media_bytes)
        self._repeats = Repeats(config.context_cache, deps.store.records, lambda: list(self._by_project()))
        self._others, self._earlier = deps.media, EarlierMedia(self._opened, deps.files)
        self._files = RequestFiles(self._earlier, deps.files)

    @classmethod
    def chosen_model(cls, config: ModelsConfig, name: str, selection: Selection) -> str | None:
        """Return the model that the settings choose; see `transports.base.TransportType.chosen_model`."""
        if selection.capability not in cls.offered:
            return None
        return models.choose(selection, name, config.models, (), cls.defaults)

    @property
    def accounts(self) -> Sequence[Account]:
        """See `transports.base.Transport.accounts`."""
        return self.connected.sequence

    @property
    def discovered(self) -> Sequence[Model]:
        """See `transports.base.Transport.discovered`."""
        listed = self.connected.listed
        if listed is not self._seen:
            self._seen, self._discovered = listed, discovered_models(listed, self.name, self.defaults)
        return self._discovered

    def offers(self, selection: Selection) -> bool:
        """Return whether an account can serve the selection."""
        model = self._model(selection)
        if model is None or selection.capability not in self.offered:
            return False
        return any(not account.lacks(model) for account in self.connected.all)

    def served_by(self, selection: Selection, account: Account) -> UpstreamModel | None:
        """See `transports.base.Transport.served_by`."""
        connected, model = self.connected.get(account.id), self._model(selection)
        if connected is None or model is None:
            return None
        return UpstreamModel(id=model, name=connected.label_of(model), family=selection.model.family)

    def applies(self, selection: Selection) -> frozenset[str]:
        """Return the options that the model has; see `transports.base.Transport.applies`."""
        model = self._model(selection)
        if model is None:
            return frozenset()
        traits = models.traits_of(model, self.connected.listed.get(model))
        return options_applied(selection, traits) - ({"safety"} if self._config.safety else set())

    def quota_of(self, selection: Selection) -> str:
        """Return the model, since each has its own quotas."""
        return self._model(selection) or selection.model.family

    async def home(self, request: GenerationRequest) -> str | None:
        """Return the account that made the calls of the current turn: their signatures may be valid for it alone."""
        calls: list[ToolCall] = []
        for turn in reversed(request.turns):
            if turn.role is Role.USER:
                break
            calls += turn.tool_calls
        account = await self._signatures.account_of(request.caller.owner, calls)
        return account if self.connected.get(account) is not None else None

    async def prefers(self, request: GenerationRequest, tier: str) -> str | None:
        """Return the paid account whose project has the beginning of the request cached; see `Transport.prefers`.

        A cache never makes a paid account serve what a free one can.
        """
        if self._config.context_cache is None or tier == "free":
            return None
        model, accounts = self._model(request.selection), self._by_project()
        if model is None or len(accounts) < 2 or (not tier and any(one.tier == "free" for one in self.accounts)):
            return None
        known = await self._repeats.known(request, model)
        if known is None:
            return None
        best = max(accounts, key=lambda project: prefix.tokens if (prefix := known.cached(project)) is not None else 0)
        return accounts[best] if known.cached(best) is not None else None

    def _by_project(self) -> Mapping[str, str]:
        """Return an account of each project that may have caches."""
        found = [(one.caches.project, one.account.id) for one in self.connected.all if one.caches is not None]
        return dict(reversed(found))

    async def open(self, stack: AsyncExitStack, request: GenerationRequest, account: Account) -> Exchange:
        """Send the request with an account; see `transports.base.Transport.open`."""
        connected, model = self.connected.of(account.id), self.served_by(request.selection, account)
        if model is None:
            raise Unsupported(f"The upstream has no model for '{request.selection.id}'.", param="model")
        connected.use()
        stack.callback(connected.unuse)
        try:
            if request.selection.capability is Capability.EMBEDDING:
                return await open_embeddings(connected, model, request, self.name, self._files)
            media = KeptMedia(self._blobs, self.name, account.id, request)
            deps = CallDeps(signatures=self._signatures, media=media, files=self._files, repeats=self._repeats)
            if request.selection.capability is Capability.STORYBOOK:
                pictures = BookPictures(self._config, connected, request, deps, self._blobs)
                pictures.models = self._picture_models(request.selection, connected)
                deps = msgspec.structs.replace(deps, draw=pictures.draw)
            return await ModelCall(self._config, connected, model, deps).open(stack, request, self.name)
        except ModelMissing:
            connected.lacking.add(model.id)
            raise

    def _picture_models(self, book: Selection, account: ModelAccount) -> list[UpstreamModel]:
        """Return the models that draw for a storybook: that of its family, then one that most accounts have."""
        drawing = msgspec.structs.replace(book, capability=Capability.IMAGEN, extended=False)
        found = dict.fromkeys((self._model(drawing), self.defaults.get("flash-imagen")))
        return [UpstreamModel(id=model) for model in found if model is not None and not account.lacks(model)]

    def _model(self, selection: Selection) -> str | None:
        return models.choose(selection, self.name, self._config.models, self.connected.listed, self.defaults)

    async def cancel(self, handle: Handle) -> None:
        """Do nothing: these answers take no minutes."""
        del handle

    def media(self, ref: MediaRef, rendition: Rendition) -> AbstractAsyncContextManager[MediaStream]:
        """Open a file; it has one rendition. See `protocol.model.Engine.media`."""
        del rendition
        return open_kept(self._blobs, ref)

    def _opened(self, ref: MediaRef) -> AbstractAsyncContextManager[MediaStream]:
        """Open media of an earlier answer: all transports of the API keep theirs in the store."""
        return open_kept(self._blobs, ref) if is_kept(ref) else self._others(ref)

    async def reload(self, config: Any) -> Sequence[str]:
        """Apply the accounts of the settings; see `transports.base.TransportType.reload`."""
        return await self.connected.reload(config.accounts)

    @abstractmethod
    def examine(self, account: str) -> AsyncGenerator[Finding]:
        """See `transports.base.Transport.examine`."""

    async def export(self, account: str) -> str:
        """Return the credential; see `transports.base.Transport.export`."""
        configured = self.connected.of(account).configured
        return configured.credential if configured is not None else ""
