"""Registers the dialects and transports and builds the engine from them.

A new dialect is one entry in `DIALECTS`; a new transport is one entry in `TRANSPORTS`.
"""

import random
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib import import_module
from typing import Any

import msgspec

from protocol.http.operation import Dialect
from protocol.model import Catalogue, FileKeeper, Rendition, Selection
from service.config.schema import Origin, Settings, SettingsError, convert
from transports.accounts import (
    AccountTracker,
    ConcurrencyLimits,
    Heartbeat,
    Pool,
    PoolDeps,
    Reports,
    SharedState,
)
from transports.accounts.conversations import Conversations
from transports.accounts.registry import AccountRegistry
from transports.base import Deps, Serve, Transport, TransportType
from transports.clock import Clock
from transports.failover import Failover, required_by
from transports.observer import Observer
from transports.router import Router
from transports.routes import RouteTable
from transports.store import ChangeFeed, Records, Store
from transports.tasks import background_tasks
from transports.tracing import NO_TRACER, Tracer


def _dialect(name: str) -> Dialect:
    return import_module(f"protocol.{name}").DIALECT


def _transport(name: str) -> TransportType[Any]:
    return import_module(f"transports.{name}").TRANSPORT_TYPE


DIALECTS = (
    _dialect("openai"),
    _dialect("anthropic"),
    _dialect("gemini"),
)  # fmt: skip
"""The first one also writes the errors of paths that belong to no dialect."""
TRANSPORTS: dict[str, TransportType[Any]] = {
    "web": _transport("web"),
    "api": _transport("api"),
    "vertex": _transport("vertex"),
    "simulator": _transport("simulator"),
}


class EngineDeps(msgspec.Struct, frozen=True, kw_only=True):
    """Dependencies of the engine."""

    clock: Clock
    store: Store
    local_replica: Records | None = None
    """The local replica of a shared store."""
    conversations: Conversations
    observer: Observer
    serve: Serve
    files: FileKeeper
    tracer: Tracer = NO_TRACER
    connected: Callable[[Transport], None] = lambda _: None
    """Called with each transport after it is connected."""
    draining: Callable[[], bool] = lambda: False
    """Whether the process drains its last requests: no retries then."""
    shutting_down: Callable[[], bool] = lambda: False
    """Whether shutdown was announced: other processes should take over background work."""
    change_feed: ChangeFeed | None = None
    """The store's change feed; runs while the engine is open."""
    licenses: Callable[[], int] = lambda: 1
    """Returns the number of valid licenses, which share the accounts."""


def transport_settings(settings: Settings, origin: Origin) -> dict[str, msgspec.Struct]:
    """Return the settings of each transport, in their order.

    Raises:
        SettingsError: a transport is unknown, its settings are wrong, two accounts have the same id, or the simulator
            is combined with real upstreams.

    """
    found: dict[str, msgspec.Struct] = {}
    for name, tree in settings.transports.items():
        _check_known(name, f"transports.{name}", origin)
        found[name] = convert(tree, TRANSPORTS[name].config, origin, at=f"transports.{name}", strict=False)
    if "simulator" in found and len(found) > 1:
        raise SettingsError(f"{origin.name}: transports.simulator: cannot be combined with other transports")
    named = Counter(
        account.id for name, config in found.items() for account in TRANSPORTS[name].account_settings(config)
    )
    for account, times in named.items():
        if times > 1:
            raise SettingsError(f"{origin.name}: transports: two accounts have the id {account!r}")
    return found


def is_simulated(settings: Settings, origin: Origin) -> bool:
    """Return whether only simulators on this machine answer with these settings.

    Raises:
        SettingsError: as `transport_settings`.

    """
    configs = transport_settings(settings, origin)
    return bool(configs) and all(TRANSPORTS[name].is_simulated(config) for name, config in configs.items())


def _check_known(name: str, where: str, origin: Origin) -> None:
    if name not in TRANSPORTS:
        known = ", ".join(TRANSPORTS)
        raise SettingsError(f"{origin.of(where)}: {where}: unknown transport; expected one of: {known}")


def check_transports(settings: Settings, origin: Origin) -> None:
    """Check the transports as far as possible without connecting them.

    Raises:
        SettingsError: as `transport_settings`; or no transport is configured, or one could not be connected.

    """
    configs = transport_settings(settings, origin)
    if not configs:
        raise SettingsError(
            f"{origin.name}: transports: no upstream is configured. "
            "Set up [transports.web] (see deploy/gateway.example.toml), "
            "or try `gemini-gateway demo`, which answers from a simulator",
        )
    routes_of(settings, origin)
    for name, config in configs.items():
        with _naming(name, origin):
            TRANSPORTS[name].validate(config)


@contextmanager
def _naming(name: str, origin: Origin) -> Generator[None]:
    """Turn OSError and ValueError into a SettingsError that names the transport."""
    where = f"transports.{name}"
    try:
        yield
    except OSError as error:
        path = f"{error.filename}: " if error.filename else ""
        raise SettingsError(f"{origin.of(where)}: {where}: {path}{error.strerror or error}") from None
    except ValueError as error:
        raise SettingsError(f"{origin.of(where)}: {where}: {error}") from None


def build_catalogue(settings: Settings, origin: Origin) -> Catalogue:
    """Return the model catalogue with the changes of the settings.

    Raises:
        SettingsError: the changes contradict each other.

    """
    models = settings.models
    for where, names in [
        *((f"models.add[{number}].upstream", model.upstream) for number, model in enumerate(models.add)),
        *((f"models.upstream.{base}", names) for base, names in models.upstream.items()),
    ]:
        for name in names:
            _check_known(name, f"{where}.{name}", origin)
    families = dict.fromkeys(family for kind in TRANSPORTS.values() for family in sorted(kind.families))
    for number, model in enumerate(models.add):
        if model.family not in families:
            where = f"models.add[{number}].family"
            raise SettingsError(f"{origin.of(where)}: {where}: unknown family; expected one of: {', '.join(families)}")
    try:
        catalogue = Catalogue.build(
            models.add,
            aliases=models.aliases,
            upstream=models.upstream,
            default_aliases=models.default_aliases,
            list_suffixes=models.list_suffixes,
            fallbacks=models.fallbacks,
        )
    except ValueError as error:
        raise SettingsError(f"{origin.of('models')}: models: {error}") from None
    for number, one in enumerate(settings.licenses):
        where = f"licenses[{number}]"
        try:
            catalogue.check_aliases(one.aliases)
            catalogue.check_fallbacks(one.fallbacks)
        except ValueError as error:
            raise SettingsError(f"{origin.of(where)}: {where}: {error}") from None
    return catalogue


def routes_of(settings: Settings, origin: Origin) -> RouteTable:
    """Return the routes of the settings.

    Raises:
        SettingsError: a route names a transport or tier that does not exist.

    """
    try:
        return RouteTable(settings.routes, {name: TRANSPORTS[name].tiers for name in settings.transports})
    except ValueError as error:
        raise SettingsError(f"{origin.of('routes')}: routes{error}") from None


@asynccontextmanager
async def open_engine(settings: Settings, parts: EngineDeps, origin: Origin) -> AsyncGenerator[Router]:
    """Connect the transports and yield the router; close them in reverse order on exit.

    Raises:
        SettingsError: the settings contradict each other.

    """
    catalogue = build_catalogue(settings, origin)
    failovers: list[Failover] = []
    routers: list[Router] = []
    process_id = uuid.uuid4().hex
    registry = AccountRegistry(parts.store.records, parts.clock)
    change_feed = parts.change_feed or ChangeFeed(parts.store.records, parts.clock)
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(background_tasks())
        tasks.start_soon(change_feed.run)
        selections = tuple({(one.model.id, one.capability): one for one in catalogue.selections()}.values())
        pools = await stack.enter_async_context(_open_pools(settings, parts, process_id, change_feed, selections))
        for name, config in transport_settings(settings, origin).items():
            reports = Reports()
            deps = Deps(
                name=name,
                process_id=process_id,
                clock=parts.clock,
                store=parts.store,
                local_replica=parts.local_replica,
                registry=registry,
                change_feed=change_feed,
                conversations=parts.conversations,
                observer=parts.observer,
                report=reports,
                shutting_down=parts.shutting_down,
                serve=parts.serve,
                files=parts.files,
                media=lambda ref: routers[0].media(ref, Rendition.LARGE),
            )
            with _naming(name, origin):
                transport = await stack.enter_async_context(TRANSPORTS[name].connect(config, deps))
            parts.connected(transport)
            pool = pools(transport)
            reports.connect(pool.accounts.apply_report)
            failovers.append(Failover(transport, pool, settings.failover, parts.draining))
        routers.append(Router(catalogue, failovers, settings.deadlines, routes_of(settings, origin)))
        yield routers[0]


@asynccontextmanager
async def _open_pools(
    settings: Settings,
    parts: EngineDeps,
    process_id: str,
    change_feed: ChangeFeed,
    selections: Sequence[Selection],
) -> AsyncGenerator[Callable[[Transport], Pool]]:
    """Yield a function that builds and starts the pool of a transport; the pools stop on exit."""
    store, clock = settings.store, parts.clock
    config = settings.pool
    heartbeat = Heartbeat(
        parts.store.records, clock, process_id, least=max(settings.server.workers, store.min_processes)
    )
    limits = ConcurrencyLimits(
        clock,
        process_id,
        shared=None if settings.alone else parts.store.limits,
        processes=heartbeat.processes,
        seconds=config.slot_ttl_seconds,
    )
    shared_state = SharedState(parts.store, change_feed, clock)
    rng = random.random  # spreads load; no secrecy is needed
    pool_deps = PoolDeps(
        clock=clock,
        shared_state=shared_state,
        observer=parts.observer,
        rng=rng,
        tracer=parts.tracer,
        licenses=parts.licenses,
    )
    async with shared_state.open(), limits.open(), heartbeat.open(), background_tasks() as tasks:

        def pool_of(transport: Transport) -> Pool:
            accounts = AccountTracker(transport.name, lambda: transport.accounts, pool_deps, config)
            pool = Pool(accounts, limits, config, lambda: required_by(transport, selections))
            heartbeat.add_accounts(pool.accounts.loads)
            tasks.start_soon(pool.run)
            return pool

        yield pool_of
