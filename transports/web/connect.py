"""Register the web transport: `KIND`, and `connect`, which opens its accounts."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from transports.base import Deps, Kind
from transports.web.account_config import accounts_of, admit, check, facts, files_of, identity
from transports.web.accounts import open_accounts
from transports.web.config import WebConfig
from transports.web.transport import WebTransport


@asynccontextmanager
async def connect(config: WebConfig, deps: Deps) -> AsyncGenerator[WebTransport]:
    """Connect the accounts of the settings and the store; their sessions are fetched in the background or on first use.

    Raises:
        ValueError: as `check`.

    """
    check(config)
    async with open_accounts(config, deps) as accounts:
        yield WebTransport(deps.name, accounts, deps.clock, deps.files)


KIND = Kind(
    WebConfig,
    connect,
    check,
    secrets=frozenset({"cookies", "proxy"}),
    accounts=accounts_of,
    files=files_of,
    reload=WebTransport.reload,
    admit=admit,
    identity=identity,
    facts=facts,
)
