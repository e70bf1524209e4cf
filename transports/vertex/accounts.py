"""Connects service accounts to Vertex AI, and reads the models that it lists."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Protocol

import anyio
import structlog

from protocol.model import SignedOut
from transports.account import Facts
from transports.accounts.configured import ConfiguredAccount
from transports.base import Deps
from transports.generate_content import wire
from transports.generate_content.accounts import ModelAccount, ModelAccounts
from transports.generate_content.api_client import ApiAccess, ApiClient, ListPage
from transports.generate_content.context_cache import CachePlace, digest_of
from transports.generate_content.embedding_wire import EmbedContentRequest, VertexEmbedContentRequest
from transports.generate_content.listed_models import ListedModel
from transports.http import client
from transports.tasks import every
from transports.vertex.config import VertexAccount, VertexConfig, origin_of
from transports.vertex.dialect import embedding_to_vertex, to_vertex
from transports.vertex.errors import on_vertex
from transports.vertex.service_accounts import ACCOUNTS, fingerprint, project_of

CHECK_TOKEN = "token"  # noqa: S105 -- the name of a check
VERSION = "v1"
_LISTING_VERSION = "v1beta1"
"""Only this version lists models."""
_PAGE = "models?pageSize=300"
_SHORT = b'{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}'
_TOKEN_SECONDS = 60.0
"""How often it is checked whether the token expires soon."""

_log = structlog.get_logger()


class Tokens(Protocol):
    """Fetches tokens; see `transports.vertex.token_source.TokenSource`, which needs google-auth."""

    async def authorize(self) -> Mapping[str, str]:
        """Return the headers that name the account."""
        ...

    async def keep_fresh(self) -> None:
        """Renew the token if it is about to expire."""
        ...

    def forget(self, headers: Mapping[str, str]) -> bool:
        """Fetch another token for the next request, because Vertex AI refused that of these headers."""
        ...


class _PublisherPage(ListPage, frozen=True, rename="camel"):
    publisher_models: tuple[ListedModel, ...] = ()


class ConnectedServiceAccount(ModelAccount):
    """A service account that is connected to Vertex AI."""

    tokens: Tokens
    catalogue: ApiClient
    """Lists models."""
    labels: Mapping[str, str]

    def adapted(self, body: wire.GenerateContentRequest) -> wire.GenerateContentRequest:
        """Return a request in the form of Vertex AI."""
        return to_vertex(body, self.labels)

    def embedding(self, asked: EmbedContentRequest) -> VertexEmbedContentRequest:
        """Return a request for an embedding in the form of Vertex AI."""
        return embedding_to_vertex(asked)

    async def run(self) -> None:
        """Keep the token fresh, and read the list of models again and again."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(super().run)
            await every(_TOKEN_SECONDS, self.refresh_token, self._deps.clock)

    async def refresh_token(self) -> None:
        """Renew the token if it is due, and report the outcome."""
        await self.check(CHECK_TOKEN, self.tokens.keep_fresh, "token_refresh_failed")

    async def count_tokens(self, model: str) -> None:
        """Ask a model to count tokens, which costs nothing; raises GatewayError if it does not."""
        async with self.api.post(f"models/{model}:countTokens", _SHORT) as response:
            await self.api.whole(response)

    async def list_models(self) -> Iterable[ListedModel]:
        """Return Google's models that Vertex AI lists, their ids only; none, if the account may not list models."""
        await self.tokens.authorize()
        found: list[ListedModel] = []
        with suppress(SignedOut):
            async for page in self.catalogue.pages(_PAGE, _PublisherPage):
                found += page.publisher_models
        return found


class ServiceAccounts(ModelAccounts[VertexAccount, ConnectedServiceAccount]):
    """The connected service accounts of one vertex transport."""

    def __init__(self, config: VertexConfig, deps: Deps) -> None:
        """Read the service accounts of the settings.

        Raises:
            ValueError: a service account of the settings is invalid.

        """
        super().__init__(ACCOUNTS, config.accounts, deps)
        self._config, self._deps = config, deps

    @asynccontextmanager
    async def connect_account(
        self, configured: ConfiguredAccount[VertexAccount] | None
    ) -> AsyncGenerator[ConnectedServiceAccount]:
        """Open the HTTP client of a service account."""
        from transports.vertex.token_source import TokenSource

        if configured is None:
            raise ValueError("Vertex AI has no guests")
        config, settings, timeouts = self._config, configured.settings, self._config.timeouts
        facts = Facts(plan="paid", credential=fingerprint(configured.credential))
        origin = origin_of(config, settings.location)
        project = project_of(settings, configured.credential)
        place = f"{origin}/{VERSION}/projects/{project}/locations/{settings.location}/publishers/google/"
        async with AsyncExitStack() as stack:
            http = direct = await stack.enter_async_context(
                client(timeouts, proxy=settings.proxy, ca_file=config.ca_file)
            )
            if settings.proxy is not None:
                direct = await stack.enter_async_context(client(timeouts, ca_file=config.ca_file))
            tokens = TokenSource(configured.credential, http, direct, timeouts)
            api, catalogue = (
                ApiClient(http, ApiAccess(base, tokens.authorize, on_vertex, tokens.forget), timeouts, self._deps.clock)
                for base in (place, f"{origin}/{_LISTING_VERSION}/publishers/google/")
            )
            account = ACCOUNTS.account_of(settings, self._deps.name, lambda: facts, api.reach)
            connected = ConnectedServiceAccount(account, api, self._deps, config.models_seconds)
            connected.tokens, connected.catalogue, connected.labels = tokens, catalogue, config.labels
            parent = f"projects/{project}/locations/{settings.location}/"
            models = f"{parent}publishers/google/models/"
            place = CachePlace(base=f"{origin}/{VERSION}/", models=models, parent=parent, project=digest_of(parent))
            connected.cache_in(place, config)
            await connected.restored()
            yield connected


@asynccontextmanager
async def open_accounts(config: VertexConfig, deps: Deps) -> AsyncGenerator[ServiceAccounts]:
    """Connect the service accounts for the duration of the context.

    Raises:
        ValueError: a service account of the settings is invalid.

    """
    accounts = ServiceAccounts(config, deps)
    async with accounts.open():
        yield accounts
