"""Accounts that ask the API's models, each with the models that it has.

The list of an account's models is kept in the store, so that it is known at once after a restart, and to all processes
as soon as one of them has read it.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import islice
from operator import attrgetter, is_not
from types import MappingProxyType
from typing import TypeVar

import anyio
import msgspec
import structlog

from protocol.model import GatewayError, SignedOut
from transports.account import Account, Report
from transports.accounts.configured import SettingsT
from transports.accounts.connected import ConnectedAccount, ConnectedAccounts
from transports.base import Deps
from transports.generate_content import wire
from transports.generate_content.api_client import ApiClient
from transports.generate_content.config import ModelsConfig
from transports.generate_content.context_cache import CacheDeps, CachePlace, ContextCaches
from transports.generate_content.embedding_wire import EmbedContentRequest, VertexEmbedContentRequest
from transports.generate_content.listed_models import MOST_MODELS, ListedModel, ModelLists
from transports.generate_content.request_files import Uploader
from transports.store.port import MODEL_LISTS
from transports.tasks import every

CHECK_MODELS = "models"
_KEPT_SECONDS = 30 * 86400.0
_decode_list = msgspec.json.Decoder(tuple[ListedModel, ...]).decode
_log = structlog.get_logger()
_MODELS = attrgetter("models")


class ModelAccount(ConnectedAccount, ABC):
    """An account that is connected to the API; a transport's subclass reads its list of models."""

    def __init__(
        self,
        account: Account,
        api: ApiClient,
        deps: Deps,
        models_seconds: float,
        listed: Callable[[], ModelLists] = dict,
    ) -> None:
        """Read the list of models every `models_seconds`; `listed` returns the models of all accounts."""
        super().__init__(msgspec.structs.replace(account, lacks=self.lacks))
        self.api = api
        self.uploader: Uploader | None = None
        """Uploads long files; None: all are sent within the requests."""
        self.caches: ContextCaches | None = None
        """Caches the beginnings of requests; None: the settings or the account's tier exclude it."""
        self.models: ModelLists = {}
        """The models that the API lists, by id; empty: not read yet."""
        self.lacking: set[str] = set()
        """Models that the API did not find for this account."""
        self._deps, self._models_seconds, self._listed = deps, models_seconds, listed
        self._key, self._kept = f"{account.id}/{account.facts().credential}", b""
        """The key of its list in the store, and the list as it is there."""

    def lacks(self, model: str) -> bool:
        """Return whether the API has the model for other accounts only, or for none."""
        if model in self.lacking:
            return True
        return bool(self.models) and model not in self.models and model in self._listed()

    def label_of(self, model: str) -> str:
        """Return the display name of a model; empty: the list has none."""
        return self.models[model].display_name if model in self.models else ""

    async def run(self) -> None:
        """Read the list of models again and again, and cache what requests begin with."""
        async with anyio.create_task_group() as tasks:
            if self.caches is not None:
                tasks.start_soon(self.caches.run)
            await every(self._models_seconds, self._refresh_models, self._deps.clock)

    def cache_in(self, place: CachePlace, config: ModelsConfig) -> None:
        """Cache the beginnings of requests in the account's project, if the settings say so and the project pays."""
        deps = self._deps
        if config.context_cache is None or self.account.tier != "paid":
            return
        count = partial(deps.observer.context_cache, deps.name)
        cache_deps = CacheDeps(records=deps.store.records, keeper=deps.files, count=count)
        self.caches = ContextCaches(config.context_cache, self.api, place, cache_deps)

    async def read_models(self) -> None:
        """Read the list of models, and keep it for all processes.

        Raises:
            GatewayError: the API did not answer as it should.

        """
        found = tuple(islice(await self.list_models(), MOST_MODELS))
        self.lacking = set()
        value = msgspec.json.encode(found)
        if value == self._kept:
            return
        self._use(value)
        try:
            await self._deps.store.records.put(MODEL_LISTS, self._key, value, seconds=_KEPT_SECONDS)
        except OSError:
            _log.warning("models_write_failed", account=self.account.id)

    async def restore_models(self) -> None:
        """Use the list of models that the store has, if there is one.

        Raises:
            OSError: the store is unavailable.

        """
        record = await self._deps.store.records.get(MODEL_LISTS, self._key)
        if record is not None and record.value != self._kept:
            self._use(record.value)

    async def restored(self) -> None:
        """Use the list that the store has, before the account is used; without a store the list is read later."""
        with suppress(OSError):
            await self.restore_models()

    def _use(self, value: bytes) -> None:
        try:
            self.models = {model.id: model for model in _decode_list(value)}
        except msgspec.MsgspecError:  # of another version of the gateway
            return
        self._kept = value

    @abstractmethod
    async def list_models(self) -> Iterable[ListedModel]:
        """Return the models that the API lists; raises as `read_models`."""

    def adapted(self, body: wire.GenerateContentRequest) -> wire.GenerateContentRequest:
        """Return a request in the form that this API takes; raises Unsupported if it cannot take it."""
        return body

    def embedding(self, asked: EmbedContentRequest) -> EmbedContentRequest | VertexEmbedContentRequest:
        """Return a request for an embedding in the form that this API takes."""
        return asked

    async def _refresh_models(self) -> None:
        await self.check(CHECK_MODELS, self.read_models, "models_read_failed")

    async def check(self, name: str, work: Callable[[], Awaitable[None]], failed: str) -> None:
        """Do the work of a check, and report whether the account is accepted; another failure is the event `failed`."""
        try:
            await work()
        except SignedOut as error:
            self._deps.report(Report(account=self.account.id, check=name, error=error))
        except (GatewayError, msgspec.MsgspecError) as error:
            _log.warning(failed, account=self.account.id, error=type(error).__name__)
        else:
            self._deps.report(Report(account=self.account.id, check=name))


AccountT = TypeVar("AccountT", bound=ModelAccount)


class ModelAccounts(ConnectedAccounts[SettingsT, AccountT]):
    """The connected accounts of one transport that asks the API's models."""

    _lists: Sequence[ModelLists] = ()
    _listed: ModelLists = MappingProxyType({})

    @property
    def listed(self) -> ModelLists:
        """The models that the API lists for any account; empty: not known yet. Another object after a change."""
        lists = list(map(_MODELS, self.all))  # each request asks several times
        if len(lists) != len(self._lists) or any(map(is_not, lists, self._lists)):
            merged: dict[str, ListedModel] = {}
            for one in lists:
                merged = {**one, **merged}
            self._lists, self._listed = lists, dict(islice(merged.items(), MOST_MODELS))
        return self._listed

    @asynccontextmanager
    async def open(self, *, guest: bool = False) -> AsyncGenerator[None]:
        """Connect the accounts, and follow the lists of models that other processes read."""
        async with super().open(guest=guest):
            self._change_feed.subscribe(MODEL_LISTS, self.restore_models)
            yield

    async def restore_models(self) -> None:
        """Use the lists of models that the store has."""
        for account in self.all:
            await account.restore_models()
