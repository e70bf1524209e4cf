"""The simulator as a transport: its site on its own port, and the web transport connected to it."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import structlog

from transports import web
from transports.accounts import Conversations
from transports.base import Deps, Transport, TransportType
from transports.simulator.config import SimulatedAccount, SimulatorConfig
from transports.store import MemoryStore, Store

_CONCURRENCY = 10_000

_log = structlog.get_logger()


def with_accounts(config: SimulatorConfig) -> SimulatorConfig:
    """Return the settings; if they name no account, with a new one."""
    if config.accounts:
        return config
    account = SimulatedAccount(psid=f"sim-{secrets.token_hex(8)}", psidts=f"sidts-{secrets.token_hex(8)}")
    return msgspec.structs.replace(config, accounts=(account,))


def export_of(account: SimulatedAccount) -> str:
    """Return an account's cookies as a Cookie header."""
    cookies = {"__Secure-1PSID": account.psid, "__Secure-1PSIDTS": account.psidts}
    return "; ".join(f"{name}={value}" for name, value in cookies.items() if value)


@asynccontextmanager
async def connect(config: SimulatorConfig, deps: Deps) -> AsyncGenerator[Transport]:
    """Serve the simulated site for as long as the transport is connected."""
    from transports.simulator.site import create_site

    config = with_accounts(config)
    async with deps.serve(create_site(config, deps.clock), config.port) as base:
        _log.info("simulator_started", url=base, profile=config.profile, state=f"{base}/simulator/state")
        # the gateway must know the other host that pictures may redirect to as one of the site's
        upload = base.replace("127.0.0.1", "localhost") if config.media_redirect == "host" else base
        settings = web.WebConfig(
            accounts=tuple(
                web.WebAccount(
                    id=f"{deps.name}-{number}",
                    cookies=export_of(account),
                    concurrency=_CONCURRENCY,
                    per_minute=0,
                )
                for number, account in enumerate(config.accounts, 1)
            ),
            guest_concurrency=_CONCURRENCY,
            guest_per_minute=0,
            hosts=web.Hosts(site=base, accounts=base, upload=upload),
            rotate_seconds=config.rotate_seconds,
            poll_seconds=config.poll_seconds,
        )
        # the simulated sessions end with the process, so their state need not outlive it
        store = Store.of(MemoryStore(deps.clock))
        forgetful = msgspec.structs.replace(deps, store=store, conversations=Conversations(store.records, deps.clock))
        async with web.connect(settings, forgetful) as transport:
            yield transport


TRANSPORT_TYPE = TransportType(
    SimulatorConfig,
    connect,
    secrets=frozenset({"psid", "psidts"}),
    families=web.TRANSPORT_TYPE.families,
    is_simulated=lambda _: True,
)
