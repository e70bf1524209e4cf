"""The transport for the official Gemini API: sends requests with the operator's keys.

`TRANSPORT_TYPE` registers it; `connect` opens its keys.

Source: "Base".
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from protocol.model import GatewayError, SignedOut
from transports.account import Finding, failed, ok
from transports.api.accounts import KeyAccounts, open_accounts
from transports.api.config import ApiConfig
from transports.api.keys import ACCOUNTS
from transports.base import Deps, TransportType
from transports.generate_content.config import on_this_machine
from transports.generate_content.transport import ModelTransport, chosen_model
from transports.http import trusted


class ApiTransport(ModelTransport[KeyAccounts]):
    """Serve requests through the official API."""

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
        yield ApiTransport(config, config.base_url, accounts, deps)


TRANSPORT_TYPE = TransportType(
    ApiConfig,
    connect,
    check,
    secrets=frozenset({"key", "proxy"}),
    accounts=ACCOUNTS,
    tiers=frozenset({"free", "paid"}),
    families=frozenset({"pro", "flash", "flash-lite"}),
    is_simulated=lambda config: on_this_machine(config.base_url),
    chosen_model=chosen_model,
    reload=ApiTransport.reload,
)
