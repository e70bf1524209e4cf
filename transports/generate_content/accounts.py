"""Accounts that ask the API's models, each with the models that it has."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from operator import is_not
from typing import TypeVar

import msgspec
import structlog

from protocol.model import GatewayError, SignedOut
from transports.account import Account, Report
from transports.accounts.configured import SettingsT
from transports.accounts.connected import ConnectedAccount, ConnectedAccounts
from transports.base import Deps
from transports.generate_content import wire
from transports.generate_content.api_client import ApiClient
from transports.generate_content.request_files import Uploader
from transports.tasks import every

CHECK_MODELS = "models"
_log = structlog.get_logger()


class ModelAccount(ConnectedAccount, ABC):
    """An account that is connected to the API; a transport's subclass reads its list of models."""

    def __init__(
        self,
        account: Account,
        api: ApiClient,
        deps: Deps,
        models_seconds: float,
        listed: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """Read the list of models every `models_seconds`; `listed` returns the models of all accounts."""
        super().__init__(msgspec.structs.replace(account, lacks=self.lacks))
        self.api = api
        self.uploader: Uploader | None = None
        """Uploads long files; None: all are sent within the requests."""
        self.models: Mapping[str, str] = {}
        """The names of the models that the API lists, by id; empty: not read yet."""
        self.lacking: set[str] = set()
        """Models that the API did not find for this account."""
        self._deps, self._models_seconds, self._listed = deps, models_seconds, listed

    def lacks(self, model: str) -> bool:
        """Return whether the API has the model for other accounts only, or for none."""
        if model in self.lacking:
            return True
        return bool(self.models) and model not in self.models and model in self._listed()

    async def run(self) -> None:
        """Read the list of models again and again."""
        await every(self._models_seconds, self._refresh_models, self._deps.clock)

    async def read_models(self) -> None:
        """Read the list of models.

        Raises:
            GatewayError: the API did not answer as it should.

        """
        self.models, self.lacking = await self.list_models(), set()

    @abstractmethod
    async def list_models(self) -> Mapping[str, str]:
        """Return the names of the models that the API lists, by id; raises as `read_models`."""

    def adapted(self, body: wire.GenerateContentRequest) -> wire.GenerateContentRequest:
        """Return a request in the form that this API takes; raises Unsupported if it cannot take it."""
        return body

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

    _lists: Sequence[Mapping[str, str]] = ()
    _listed: frozenset[str] = frozenset()

    @property
    def listed(self) -> frozenset[str]:
        """The models that the API lists for any account; empty: not known yet."""
        lists = [account.models for account in self.all]
        if len(lists) != len(self._lists) or any(map(is_not, lists, self._lists)):
            self._lists, self._listed = lists, frozenset(model for one in lists for model in one)
        return self._listed
