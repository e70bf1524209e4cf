"""Connects keys to the API, and reads the models that each of them has."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager

from transports.account import Facts
from transports.accounts.configured import ConfiguredAccount
from transports.api.config import ApiConfig, ApiKeyAccount
from transports.api.interaction_request import needs_paid_key
from transports.api.key_cleanup import KeyCleanup
from transports.api.key_uploads import KeyUploads
from transports.api.keys import ACCOUNTS, fingerprint
from transports.base import Deps
from transports.generate_content.accounts import ModelAccount, ModelAccounts
from transports.generate_content.api_client import ApiAccess, ApiClient, ListPage
from transports.generate_content.context_cache import CachePlace, digest_of
from transports.generate_content.listed_models import ListedModel
from transports.http import client
from transports.store.upstream_copies import UpstreamCopies
from transports.tasks import background_tasks

VERSION = "v1beta"
_KEY_HEADER = "x-goog-api-key"
_PAGE = "models?pageSize=1000"


class _ModelPage(ListPage, frozen=True, rename="camel"):
    models: tuple[ListedModel, ...] = ()


def tier_lacks(tier: str, model: str) -> bool:
    """Return whether keys of a tier never have a model."""
    return tier == "free" and needs_paid_key(model)


class KeyAccount(ModelAccount):
    """A key that is connected to the API."""

    cleanup: KeyCleanup

    async def run(self) -> None:
        """Read the list of models and delete what is due, until cancelled."""
        async with background_tasks() as tasks:
            tasks.start_soon(self.cleanup.run)
            await super().run()

    def lacks(self, model: str) -> bool:
        """Return whether the key never has the model: free keys lack those that must be paid for."""
        return tier_lacks(self.account.tier, model) or super().lacks(model)

    async def list_models(self) -> Iterable[ListedModel]:
        """Return the models that the API lists for the key."""
        return [model async for page in self.api.pages(_PAGE, _ModelPage) for model in page.models]


class KeyAccounts(ModelAccounts[ApiKeyAccount, KeyAccount]):
    """The connected keys of one api transport."""

    def __init__(self, config: ApiConfig, deps: Deps) -> None:
        """Read the keys of the settings.

        Raises:
            ValueError: a key of the settings is invalid.

        """
        super().__init__(ACCOUNTS, config.accounts, deps)
        self._config, self._deps = config, deps

    @asynccontextmanager
    async def connect_account(self, configured: ConfiguredAccount[ApiKeyAccount] | None) -> AsyncGenerator[KeyAccount]:
        """Open the HTTP client of a key."""
        if configured is None:
            raise ValueError("the API has no guests")
        config, settings, key = self._config, configured.settings, configured.credential
        facts = Facts(plan=settings.tier, credential=fingerprint(key))

        async def authorize() -> Mapping[str, str]:
            return {_KEY_HEADER: key}

        access = ApiAccess(f"{config.base_url}/{VERSION}/", authorize)
        async with client(config.timeouts, proxy=settings.proxy, ca_file=config.ca_file) as http:
            api = ApiClient(http, access, config.timeouts, self._deps.clock)
            account = ACCOUNTS.account_of(settings, self._deps.name, lambda: facts, api.reach)
            connected = KeyAccount(account, api, self._deps, config.models_seconds, lambda: self.listed)
            connected.uploader = KeyUploads(config, api, facts.credential, self._deps.store, self._deps.clock)
            copies = UpstreamCopies(self._deps.store.records)
            connected.cleanup = KeyCleanup(api, facts.credential, copies, self._deps.clock, config.delete_seconds)
            project = f"{self._deps.name} {settings.project or facts.credential}"
            connected.cache_in(CachePlace(base=access.base, models="models/", project=digest_of(project)), config)
            await connected.restored()
            yield connected


@asynccontextmanager
async def open_accounts(config: ApiConfig, deps: Deps) -> AsyncGenerator[KeyAccounts]:
    """Connect the keys for the duration of the context.

    Raises:
        ValueError: a key of the settings is invalid.

    """
    accounts = KeyAccounts(config, deps)
    async with accounts.open():
        yield accounts
