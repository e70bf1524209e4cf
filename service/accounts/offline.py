"""Opens a transport for a while, for a command that looks at one of its accounts beside the running gateways."""

import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
from prometheus_client import CollectorRegistry

from protocol.http.budget import ByteBudget
from protocol.http.collect import Files
from protocol.http.spool import Spool
from service import wiring
from service.accounts.service import AccountError, OpenTransport
from service.server.hypercorn import serve_loopback
from transports.accounts import Conversations
from transports.accounts.registry import AccountRegistry
from transports.base import Deps, Transport
from transports.clock import Clock
from transports.metrics import PrometheusObserver
from transports.store import ChangeFeed, Store


def transport_opener(
    configs: Mapping[str, msgspec.Struct], store: Store, clock: Clock, copy: Store | None = None
) -> OpenTransport:
    """Return what opens a transport of these settings: as a gateway would, with leases of its own, for one account.

    `copy` is this machine's own copy of the sessions, beside a store that is shared.
    """

    @asynccontextmanager
    async def reach(name: str, account: str) -> AsyncGenerator[Transport]:
        deps = Deps(
            name=name,
            replica=uuid.uuid4().hex,
            clock=clock,
            store=store,
            copy=copy,
            roster=AccountRegistry(store, clock),
            watch=ChangeFeed(store, clock),
            conversations=Conversations(store, clock),
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

    return reach
