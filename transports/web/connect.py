"""Register the web transport: `KIND`, and `connect`, which opens its accounts."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from transports.base import Deps, Kind
from transports.http import trusted
from transports.web.account_config import ACCOUNTS
from transports.web.accounts import open_accounts
from transports.web.codec.models import Family
from transports.web.config import WebConfig
from transports.web.transport import WebTransport


def check(config: WebConfig) -> None:
    """Check the settings other than the accounts.

    Raises:
        ValueError: the certificates cannot be used; the message names their file.

    """
    trusted(config.ca_file)


@asynccontextmanager
async def connect(config: WebConfig, deps: Deps) -> AsyncGenerator[WebTransport]:
    """Connect the accounts of the settings and the store; their sessions are fetched in the background or on first use.

    Raises:
        ValueError: an account is invalid, or as `check`.

    """
    check(config)
    async with open_accounts(config, deps) as accounts:
        yield WebTransport(deps.name, accounts, deps.clock, deps.files)


KIND = Kind(
    WebConfig,
    connect,
    check,
    secrets=frozenset({"cookies", "proxy"}),
    accounts=ACCOUNTS,
    families=frozenset(Family),
    reload=WebTransport.reload,
)
