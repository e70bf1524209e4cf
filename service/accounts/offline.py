"""Open a transport briefly, so that a command can check one account while gateways may be running."""

import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
from prometheus_client import CollectorRegistry

from protocol.http.budget import ByteBudget
from protocol.http.spool import Files, Spool
from service import wiring
from service.accounts.service import AccountError, OpenTransport
from service.accounts.trial import OpenTrial
from service.server.hypercorn import serve_loopback
from transports.accounts import Conversations
from transports.accounts.registry import AccountRegistry
from transports.base import Deps, Transport
from transports.clock import Clock
from transports.metrics import PrometheusObserver
from transports.store import ChangeFeed, Records, Store


def trial_opener(configs: Mapping[str, msgspec.Struct], clock: Clock) -> OpenTrial:
    """Return a function that opens a configured transport for one account on a store of its own."""
    return lambda name, account, store: transport_opener(configs, store, clock)(name, account)


def transport_opener(
    configs: Mapping[str, msgspec.Struct], store: Store, clock: Clock, local_replica: Records | None = None
) -> OpenTransport:
    """Return a function that opens a configured transport for one account, as a gateway would.

    `local_replica` is this machine's copy of a shared store.
    """

    @asynccontextmanager
    async def open_transport(name: str, account: str) -> AsyncGenerator[Transport]:
        deps = Deps(
            name=name,
            process_id=uuid.uuid4().hex,
            clock=clock,
            store=store,
            local_replica=local_replica,
            registry=AccountRegistry(store.records, clock),
            change_feed=ChangeFeed(store.records, clock),
            conversations=Conversations(store.records, clock),
            observer=PrometheusObserver(CollectorRegistry()),
            only=account,
            serve=serve_loopback,
            files=Files(ByteBudget(), Spool()),
        )
        async with AsyncExitStack() as stack:
            try:
                transport = await stack.enter_async_context(wiring.TRANSPORTS[name].connect(configs[name], deps))
            except ValueError as error:
                raise AccountError("unusable", f"transports.{name}: {error}") from None
            yield transport

    return open_transport
