"""Connects keys to the API, and reads the models that each of them has."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import msgspec
import structlog

from protocol.model import GatewayError, SignedOut
from transports.account import Account, Facts, Report
from transports.accounts.configured import ConfiguredAccount
from transports.accounts.connected import ConnectedAccount, ConnectedAccounts
from transports.api.api_client import ApiClient
from transports.api.config import ApiConfig, ApiKeyAccount
from transports.api.keys import ACCOUNTS, fingerprint
from transports.base import Deps
from transports.http import client
from transports.tasks import every

CHECK_MODELS = "models"
_PAGE = "models?pageSize=1000"
_MOST_PAGES = 10

_log = structlog.get_logger()


class ListedModel(msgspec.Struct, frozen=True, rename="camel"):
    """A model of the API's list."""

    name: str
    display_name: str = ""


class _ModelPage(msgspec.Struct, frozen=True, rename="camel"):
    models: tuple[ListedModel, ...] = ()
    next_page_token: str = ""


_decode_page = msgspec.json.Decoder(_ModelPage, strict=False).decode


class KeyAccount(ConnectedAccount):
    """A key that is connected to the API."""

    def __init__(self, account: Account, api: ApiClient, deps: Deps, models_seconds: float) -> None:
        """Read the list of models every `models_seconds`."""
        super().__init__(account)
        self.api = api
        self.models: Mapping[str, str] = {}
        """The names of the models that the API lists, by id; empty: not read yet."""
        self.lacking: set[str] = set()
        """Models that the API refuses this key for good."""
        self._deps, self._models_seconds = deps, models_seconds

    def lacks(self, model: str) -> bool:
        """Return whether the API refuses this key the model for good."""
        return model in self.lacking

    async def run(self) -> None:
        """Read the list of models again and again."""
        await every(self._models_seconds, self._refresh_models, self._deps.clock)

    async def read_models(self) -> None:
        """Read the list of models.

        Raises:
            GatewayError: the API did not answer as it should.

        """
        found: dict[str, str] = {}
        page = _ModelPage()
        for _ in range(_MOST_PAGES):
            token = f"&pageToken={page.next_page_token}" if page.next_page_token else ""
            page = _decode_page(await self.api.get(f"{_PAGE}{token}"))
            found |= {model.name.removeprefix("models/"): model.display_name for model in page.models}
            if not page.next_page_token:
                break
        self.models, self.lacking = found, set()

    async def _refresh_models(self) -> None:
        try:
            await self.read_models()
        except SignedOut as error:
            self._deps.report(Report(account=self.account.id, check=CHECK_MODELS, error=error))
        except (GatewayError, msgspec.MsgspecError) as error:
            _log.warning("models_read_failed", account=self.account.id, error=type(error).__name__)
        else:
            self._deps.report(Report(account=self.account.id, check=CHECK_MODELS))


class KeyAccounts(ConnectedAccounts[ApiKeyAccount, KeyAccount]):
    """The connected keys of one api transport."""

    def __init__(self, config: ApiConfig, deps: Deps) -> None:
        """Read the keys of the settings.

        Raises:
            ValueError: a key of the settings is invalid.

        """
        super().__init__(ACCOUNTS, config.accounts, deps)
        self._config, self._deps = config, deps
        self._lists: list[Mapping[str, str]] = []
        self._listed: frozenset[str] = frozenset()

    @property
    def listed(self) -> frozenset[str]:
        """The models that the API lists for any key; empty: not known yet."""
        lists = [key.models for key in self.all]
        if len(lists) != len(self._lists) or any(new is not old for new, old in zip(lists, self._lists, strict=True)):
            self._lists, self._listed = lists, frozenset(model for one in lists for model in one)
        return self._listed

    @asynccontextmanager
    async def connect_account(self, configured: ConfiguredAccount[ApiKeyAccount] | None) -> AsyncGenerator[KeyAccount]:
        """Open the HTTP client of a key."""
        if configured is None:
            raise ValueError("the API has no guests")
        config, settings, key = self._config, configured.settings, configured.credential
        facts = Facts(plan=settings.tier, credential=fingerprint(key))
        async with client(config.timeouts, proxy=settings.proxy, ca_file=config.ca_file) as http:
            api = ApiClient(config, http, key, self._deps.clock)
            account = ACCOUNTS.account_of(settings, self._deps.name, lambda: facts, api.reach)
            key_account = KeyAccount(account, api, self._deps, config.models_seconds)
            key_account.account = msgspec.structs.replace(account, lacks=key_account.lacks)
            yield key_account


@asynccontextmanager
async def open_accounts(config: ApiConfig, deps: Deps) -> AsyncGenerator[KeyAccounts]:
    """Connect the keys for the duration of the context.

    Raises:
        ValueError: a key of the settings is invalid.

    """
    accounts = KeyAccounts(config, deps)
    async with accounts.open():
        yield accounts
