"""A toy transport: an upstream that answers a question with a line per word, and signs requests with a secret."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from protocol.model import (
    Event,
    Exchange,
    Finish,
    GenerationRequest,
    Handle,
    MediaRef,
    MediaStream,
    Model,
    RateLimited,
    Rendition,
    Selection,
    Served,
    SignedOut,
    Text,
    TextPart,
    UpstreamFailed,
    UpstreamModel,
    Usage,
)
from transports.account import Account, Finding, failed, ok
from transports.accounts.configured import AccountSettings, AccountType, ConfiguredAccount
from transports.accounts.connected import ConnectedAccount, ConnectedAccounts
from transports.base import Deps, TransportType
from transports.http import CLIENT_ERRORS, Timeouts, client, mapped, retry_after


class ToyAccountSettings(AccountSettings, frozen=True):
    """An account of the toy."""

    secret: str = ""
    secret_file: Path | None = None


class ToyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[transports.toy]`."""

    url: str
    """Address of the upstream."""
    accounts: tuple[ToyAccountSettings, ...] = ()
    timeouts: Timeouts = Timeouts()


def parse(secret: str) -> str:
    """Return a secret without surrounding whitespace; raise ValueError if it cannot be one."""
    if not secret.strip().startswith("toy-"):
        raise ValueError("a secret begins with toy-")
    return secret.strip()


ACCOUNTS = AccountType(settings=ToyAccountSettings, field="secret", noun="secret", parse=parse)


class ToyAccount(ConnectedAccount):
    """An account with its HTTP client."""

    def __init__(self, account: Account, secret: str, http: aiohttp.ClientSession) -> None:
        """Sign requests with `secret`."""
        super().__init__(account)
        self.secret, self.http = secret, http


class ToyAccounts(ConnectedAccounts[ToyAccountSettings, ToyAccount]):
    """The connected accounts."""

    def __init__(self, config: ToyConfig, deps: Deps) -> None:
        """Read the accounts of the settings."""
        super().__init__(ACCOUNTS, config.accounts, deps)
        self._name, self._timeouts = deps.name, config.timeouts

    @asynccontextmanager
    async def connect_account(
        self, configured: ConfiguredAccount[ToyAccountSettings] | None
    ) -> AsyncGenerator[ToyAccount]:
        """Open an HTTP client; the toy has no guest."""
        assert configured is not None
        async with client(self._timeouts) as http:
            yield ToyAccount(ACCOUNTS.account_of(configured.settings, self._name), configured.credential, http)


class ToyTransport:
    """Implements `transports.base.Transport`."""

    def __init__(self, name: str, config: ToyConfig, accounts: ToyAccounts) -> None:
        """Ask the upstream at `config.url`."""
        self.name, self.site, self._accounts = name, config.url, accounts

    @property
    def accounts(self) -> Sequence[Account]:
        """The accounts."""
        return self._accounts.sequence

    @property
    def discovered(self) -> Sequence[Model]:
        """No models: the catalogue has the only one."""
        return ()

    def offers(self, selection: Selection) -> bool:
        """The upstream has the family `toy`."""
        return selection.model.family == "toy" and bool(self.accounts)

    def served_by(self, selection: Selection, account: Account) -> UpstreamModel | None:
        """The upstream has one model."""
        return UpstreamModel(id="toy-1", name="Toy 1", family="toy")

    def applies(self, selection: Selection) -> frozenset[str]:
        """The upstream has no options."""
        return frozenset()

    def quota_of(self, selection: Selection) -> str:
        return selection.model.family

    async def home(self, request: GenerationRequest) -> str | None:
        """The upstream keeps nothing."""
        return None

    async def prefers(self, request: GenerationRequest, tier: str) -> str | None:
        """All accounts cost the same."""
        return None

    async def open(self, stack: AsyncExitStack, request: GenerationRequest, account: Account) -> Exchange:
        """Send the last turn's text and wait for the status."""
        connected = self._accounts.of(account.id)
        stack.enter_context(connected.used())
        question = "".join(part.text for part in request.turns[-1].parts if isinstance(part, TextPart))
        headers = {"X-Toy-Secret": connected.secret}
        try:
            asking = connected.http.post(f"{self.site}/answers", data=question.encode(), headers=headers)
            response = await stack.enter_async_context(asking)
        except CLIENT_ERRORS as error:
            raise mapped(error) from None
        if response.status == 429:
            raise RateLimited("The upstream's limit is reached.", retry_after=retry_after(response.headers))
        if response.status == 401:
            raise SignedOut("The upstream refuses the secret.", reason="signed_out")
        if response.status != 200:
            raise UpstreamFailed("The upstream failed.")
        served = Served(transport=self.name, account=account.id, requested=UpstreamModel(id="toy-1", family="toy"))
        return Exchange(lambda: served, self._events(response, question))

    async def _events(self, response: aiohttp.ClientResponse, question: str) -> AsyncGenerator[Event]:
        words = 0
        try:
            async for line in response.content:
                words += 1
                yield Text(line.decode().removesuffix("\n"))
        except CLIENT_ERRORS as error:
            raise mapped(error, started=True) from None
        usage = Usage(input_tokens=len(question.split()), output_tokens=words)
        yield Finish(reason="stop", usage=usage)

    async def cancel(self, handle: Handle) -> None:
        """Do nothing: it has no long-running work."""
        del handle

    @asynccontextmanager
    async def media(self, ref: MediaRef, rendition: Rendition) -> AsyncGenerator[MediaStream]:
        """The upstream makes no media."""
        raise UpstreamFailed("The upstream has no media.", code="media_gone")
        yield

    async def examine(self, account: str) -> AsyncGenerator[Finding]:
        """Ask the upstream whether it accepts the secret."""
        connected = self._accounts.get(account)
        if connected is None:
            yield self._accounts.missing(account)
            return
        headers = {"X-Toy-Secret": connected.secret}
        try:
            async with connected.http.get(f"{self.site}/status", headers=headers) as response:
                status = response.status
        except CLIENT_ERRORS as error:
            yield failed("upstream", mapped(error).message, "Check that the upstream runs.")
            return
        if status == 200:
            yield ok("secret", "The upstream accepts the secret.")
        else:
            yield failed("secret", "The upstream refuses the secret.", "Add the account again with --replace.")

    async def export(self, account: str) -> str:
        """Return the secret."""
        return self._accounts.of(account).secret

    async def reload(self, config: ToyConfig) -> Sequence[str]:
        """Use the accounts of the settings as they are now."""
        return await self._accounts.reload(config.accounts)


@asynccontextmanager
async def connect(config: ToyConfig, deps: Deps) -> AsyncGenerator[ToyTransport]:
    """Connect the accounts."""
    accounts = ToyAccounts(config, deps)
    async with accounts.open():
        yield ToyTransport(deps.name, config, accounts)


TRANSPORT_TYPE = TransportType(
    ToyConfig,
    connect,
    secrets=frozenset({"secret"}),
    accounts=ACCOUNTS,
    families=frozenset({"toy"}),
    reload=ToyTransport.reload,
)
