"""From settings to an ASGI app: routes, guards and the engine behind them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
import structlog
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.routing import Route

from protocol.http.budget import TOTAL, ByteBudget
from protocol.http.collect import Files
from protocol.http.context import Fetch, Limits, context_of
from protocol.http.errors import HttpError
from protocol.http.pixels import PixelPool
from protocol.http.spool import Spool
from protocol.model import Engine, GatewayError, Jobs, Saturated
from service import wiring
from service.admin.feed import Feed
from service.cli.startup_summary import StartupSummary, startup_summary
from service.config.schema import LimitSettings, Origin, Settings, SettingsError
from service.config.schema import Media as MediaSettings
from service.jobs.runner import open_jobs
from service.jobs.store import JobStore
from service.licenses.auth import Licensed, Licenses, fixed_licenses
from service.licenses.store import LicenseStore
from service.media.cache import MediaCache
from service.media.fetch import fetching
from service.media.routes import MediaRoutes
from service.media.signed_urls import MediaUrls, UrlSigner
from service.middleware.concurrency import ConcurrencyLimit, Guarded, RequestSlots
from service.middleware.forwarded import PublicAddress
from service.middleware.http_validation import HttpValidation
from service.middleware.load_monitor import LoadMonitor
from service.middleware.load_shedding import LoadShedding
from service.middleware.request_context import RequestContextMiddleware, RequestDeps
from service.server.fixed_paths import FixedPaths
from service.server.health import Operations
from service.server.listeners import ADMIN, API, OPERATIONS
from service.server.memory import Memory, Trimmer
from service.server.reload import Reload
from service.server.shutdown import Shutdown
from service.storage.factory import location_of, naming, open_stores
from service.storage.keys import open_url_signer
from service.telemetry.budgets import BudgetMetrics
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Traces, open_tracing
from transports.accounts import Conversations
from transports.clock import Clock, SystemClock
from transports.metrics import PrometheusObserver
from transports.observer import Fanout
from transports.router import Router
from transports.store import ChangeFeed, Store
from transports.store.metrics import PrometheusStoreObserver

_LICENSES_SECONDS = 1.0
_PART_OF_CONTAINER = 4
"""Bodies may hold this part of the container's memory."""
_EXPOSED = (
    "x-request-id",
    "x-gateway-upstream-model",
    "Retry-After",
    "x-should-retry",
    "Deprecation",
    "Warning",
)
"""What a web page's script may read of an answer's headers."""

_log = structlog.get_logger()


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The apps of an engine that is open."""

    apps: Mapping[str, Any]
    """ASGI, by the names of `service.server.listeners`."""
    drain: Shutdown
    reload: Reload
    survey: Callable[[], Awaitable[StartupSummary]]
    """Looks at what there is."""


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    origin: Origin,
    store_path: Path,
    serve: wiring.Serve,
) -> AsyncGenerator[Running]:
    """Open everything an app needs; leaving closes it.

    Raises:
        SettingsError: the settings do not fit together.

    """
    clock, registry = SystemClock(), CollectorRegistry()
    async with (
        open_tracing(settings.tracing, origin) as traces,
        open_stores(settings.store, origin, store_path, clock, PrometheusStoreObserver(registry)) as (store, copy),
        _seal(settings, origin, store_path, store, clock) as seal,
    ):
        licenses = Licenses(fixed_licenses(settings.licenses, origin), _book(settings, store, clock))
        base = _Base(
            settings=settings,
            origin=origin,
            clock=clock,
            registry=registry,
            store=store,
            licenses=licenses,
            seal=seal,
            drain=Shutdown(),
            memory=_memory(settings),
            spool=_spool(settings.limits),
            pressure=LoadMonitor(Memory().ratio, clock, settings.overload, registry),
            reload=Reload(settings, origin, licenses, registry),
            watch=ChangeFeed(store, clock),
            feed=Feed(),
            traces=traces,
        )
        conversations = Conversations(store, clock)
        async with (
            base.pressure.open(),
            Trimmer(base.memory, clock).open(),
            BudgetMetrics(base.memory, base.spool, registry).open(clock),
            conversations.write_behind() if settings.alone else conversations.write_together(),
            wiring.open_engine(settings, _parts(base, copy, conversations, serve), origin) as engine,
            fetching(settings.fetch, settings.server.public_url, origin) as fetch,
            base.reload.open(clock),
            open_jobs(JobStore(store, clock), engine, clock, settings.jobs) as jobs,
        ):
            jobs.leaving = base.drain.is_leaving
            yield Running(
                apps=_apps(base, engine, fetch, jobs),
                drain=base.drain,
                reload=base.reload,
                survey=partial(
                    startup_summary, settings, origin, location_of(settings.store, origin, store_path), store, clock
                ),
            )


class _Base(msgspec.Struct, frozen=True, kw_only=True):
    """What all apps stand on, before an upstream is connected."""

    settings: Settings
    origin: Origin
    clock: Clock
    registry: CollectorRegistry
    store: Store
    licenses: Licenses
    seal: UrlSigner
    drain: Shutdown
    memory: ByteBudget
    spool: Spool
    pressure: LoadMonitor
    reload: Reload
    watch: ChangeFeed
    feed: Feed
    traces: Traces | None


def _parts(base: _Base, copy: Store | None, conversations: Conversations, serve: wiring.Serve) -> wiring.EngineDeps:
    return wiring.EngineDeps(
        clock=base.clock,
        store=base.store,
        copy=copy,
        conversations=conversations,
        observer=Fanout(PrometheusObserver(base.registry), base.feed.publish),
        watch=base.watch,
        serve=serve,
        files=Files(base.memory, base.spool),
        tracer=base.traces,
        connected=base.reload.follow,
        draining=lambda: base.drain.draining,
        leaving=base.drain.is_leaving,
    )


def _apps(base: _Base, engine: Router, fetch: Fetch, jobs: Jobs) -> dict[str, Any]:
    """Return what answers at each listener."""
    settings, address = base.settings, PublicAddress.of(base.settings.server, base.origin)
    means = RequestDeps(
        clock=base.clock,
        drain=base.drain,
        limits=_limits(settings),
        links=lambda scope: MediaUrls(base.seal, partial(address.base, scope)),
        fetch=fetch,
        jobs=jobs,
        memory=base.memory,
        spool=base.spool,
        pixels=PixelPool(),
        log_prompts=settings.log.prompts,
        traces=base.traces,
    )
    metrics = Metrics(base.registry, settings.limits.in_flight)
    operations = Operations(base.registry, base.drain, base.pressure)
    routes = [
        *(() if settings.operations.port else operations.routes()),
        *_callers_routes(base, engine),
    ]
    api = RequestContextMiddleware(_guarded(settings, routes, base.pressure), metrics, means, wiring.house_refusal)
    apps = {API: api, OPERATIONS: operations.app()}
    if settings.admin.tokens:
        from service.admin.setup import RunningGateway, create_admin_app

        inside = RunningGateway(
            engine=engine, watch=base.watch, feed=base.feed, metrics=metrics, request_deps=means, reload=base.reload
        )
        apps[ADMIN] = create_admin_app(settings, base.origin, base.store, inside)
    return apps


def _callers_routes(base: _Base, engine: Router) -> Iterator[Route]:
    """Yield what callers ask for."""
    settings = base.settings
    room = RequestSlots(base.drain, settings.limits.in_flight, settings.limits.in_flight_per_license)
    yield from _media_routes(
        settings, MediaRoutes(engine, base.seal, base.licenses.valid, _shelf(settings.media)), room
    )
    yield from _api_routes(settings, engine, base.licenses, room)


@asynccontextmanager
async def _seal(
    settings: Settings,
    origin: Origin,
    store_path: Path,
    store: Store,
    clock: Clock,
) -> AsyncGenerator[UrlSigner]:
    """Open the seal of links; a server that is away is waited for beside, a file that is out of order is not."""
    location = location_of(settings.store, origin, store_path)
    async with AsyncExitStack() as stack:
        with naming(location, origin):
            opening = open_url_signer(settings.media, origin, store, clock, patient=location.path is None)
            seal = await stack.enter_async_context(opening)
        yield seal


def _guarded(settings: Settings, routes: list[Route], pressure: LoadMonitor) -> Any:
    """Return what answers, behind what every request has to pass."""
    guard = HttpValidation(FixedPaths(_starlette(routes), routes), settings.limits.header_bytes, wiring.house_refusal)
    spared = LoadShedding(guard, pressure, settings.overload.long_body_bytes, wiring.house_refusal)
    return _cors(spared, settings.server.cors_origins)


def _api_routes(settings: Settings, engine: Engine, licenses: Licenses, room: RequestSlots) -> Iterator[Route]:
    """Yield every dialect's routes, guarded, below the prefix and bare."""
    for routes in wiring.PROTOCOLS:
        for route in routes(engine):
            guarded = Licensed(ConcurrencyLimit(cast("Guarded", route.endpoint), room), licenses)
            for prefix in _prefixes(settings):
                yield Route(prefix + route.path, guarded, methods=list(route.methods or ()), name=route.path)


def _media_routes(settings: Settings, media: MediaRoutes, room: RequestSlots) -> Iterator[Route]:
    """Yield the route that sealed links lead to, below the prefix and bare; the link is the license."""
    route = media.route(wiring.house_refusal)
    admitted = ConcurrencyLimit(cast("Guarded", route.endpoint), room)
    for prefix in _prefixes(settings):
        yield Route(prefix + route.path, admitted, methods=["GET"], name=route.path)


def _prefixes(settings: Settings) -> Iterable[str]:
    return dict.fromkeys((settings.server.prefix, ""))


def _book(settings: Settings, store: Store, clock: Clock) -> LicenseStore:
    """Return the book of licenses: a file is looked into for each request, a server each second."""
    return LicenseStore(store, clock, fresh_seconds=_LICENSES_SECONDS if settings.store.remote else 0.0)


def _shelf(media: MediaSettings) -> MediaCache | None:
    if media.keep_dir is None:
        return None
    try:
        return MediaCache(media.keep_dir, media.keep_bytes)
    except OSError as error:
        raise SettingsError(f"media.keep_dir: {media.keep_dir}: {error.strerror}") from None


def _starlette(routes: list[Route]) -> Starlette:
    app = Starlette(routes=routes, exception_handlers={HTTPException: _unclaimed, Exception: _failed})
    app.router.redirect_slashes = False
    return app


def _cors(app: Any, origins: tuple[str, ...]) -> Any:
    """Let web pages of these origins call the app; preflights need no license."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST", "DELETE"),
        allow_headers=("*",),
        expose_headers=_EXPOSED,
    )


async def _failed(request: Request, _: Exception) -> Any:
    """Tell of a bug; `Observed`, which Starlette raises it to, logs it."""
    error = GatewayError("The gateway failed.")
    context_of(request.scope).record.error = error.code
    return wiring.house_refusal(error)


async def _unclaimed(request: Request, error: Exception) -> Any:
    """Answer what no route claimed."""
    assert isinstance(error, HTTPException)  # noqa: S101 -- what it is registered for
    if error.status_code == 405:
        fault = HttpError(405, "method_not_allowed", f"{request.method} is not allowed on this path.")
    else:
        fault = HttpError(404, "not_found", "There is nothing at this path; the API is below /v1.")
    context_of(request.scope).record.error = fault.code
    return wiring.house_refusal(fault, dict(error.headers or {}))


def _memory(settings: Settings) -> ByteBudget:
    """Return the budget of bodies in memory."""
    limits, container = settings.limits, Memory().limit()
    total = limits.memory_bytes
    if total is None:
        part = container // (_PART_OF_CONTAINER * settings.server.workers) if container is not None else TOTAL
        total = min(TOTAL, part)
    return ByteBudget(total, limits.memory_wait_seconds)


def _spool(limits: LimitSettings) -> Spool:
    """Return what makes the files of requests.

    Raises:
        SettingsError: no file can be made there.

    """
    spool = Spool(limits.spool_dir, limits.spool_bytes)
    try:
        spool.file(0)
    except Saturated:
        raise SettingsError(f"limits.spool_dir: {spool.folder}: no file can be made there") from None
    if spool.in_memory:
        _log.warning("spool_in_memory", folder=str(spool.folder))
    return spool


def _limits(settings: Settings) -> Limits:
    limits = settings.limits
    return Limits(
        body_bytes=limits.body_bytes,
        body_seconds=limits.body_seconds,
        heartbeat_seconds=limits.heartbeat_seconds,
        write_stall_seconds=limits.write_stall_seconds,
        file_bytes=limits.file_bytes,
        pictures=limits.pictures,
        pixels=limits.pixels,
    )
