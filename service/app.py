"""Builds the ASGI apps from the settings: routes, middleware and the engine.

A request passes the middleware from the outside in: request context (id, access line), CORS, load shedding,
routing; then, for each API route, the license check and the concurrency limit.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from protocol.http.budget import TOTAL, ByteBudget
from protocol.http.context import Fetch
from protocol.http.operation import Dialect
from protocol.http.pixels import PixelPool
from protocol.http.spool import Files, Spool
from protocol.model import Engine, Saturated
from protocol.structured.checked_engine import CheckedEngine
from service import wiring
from service.admin.feed import Feed
from service.check import check
from service.config.schema import LimitSettings, MediaSettings, Origin, Settings, SettingsError
from service.jobs.runner import Runner, open_jobs
from service.jobs.store import JobStore
from service.jobs.stored_files import StoredFiles
from service.jobs.stored_responses import StoredResponses
from service.licenses.auth import Licensed, Licenses, fixed_licenses
from service.licenses.store import LicenseStore
from service.media.cache import MediaCache
from service.media.fetch import fetching
from service.media.routes import MediaRoutes
from service.media.signed_urls import MediaUrls, UrlSigner
from service.media.signing_key import open_url_signer
from service.middleware.concurrency_limit import ConcurrencyLimit, RequestSlots
from service.middleware.forwarded import ForwardedValidation, PublicAddress
from service.middleware.load_shedding import CgroupMemory, LoadMonitor, LoadShedding
from service.middleware.request_context import RequestContextMiddleware, RequestDeps
from service.middleware.routing import RequestRouter
from service.reload import Reload
from service.server.errors import ErrorBody
from service.server.health import Operations
from service.server.listeners import ADMIN, API, OPERATIONS
from service.server.memory import MemoryTrimmer
from service.server.shutdown import Shutdown
from service.storage.factory import location_of, open_stores, store_errors
from service.telemetry.budgets import BudgetMetrics
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import RequestTracer, open_tracing
from service.usage.recorder import UsageRecorder
from service.usage.usage_opening import open_usage
from transports.accounts import Conversations
from transports.clock import Clock, SystemClock
from transports.metrics import PrometheusObserver, PrometheusStoreObserver
from transports.observer import Fanout
from transports.router import Router
from transports.store import ChangeFeed, Records, Store
from transports.store.port import LICENSES
from transports.tracing import NO_TRACER

_LICENSES_SECONDS = 1.0
"""How long licenses of a store server are cached; those of a local file are read for each request."""
_CONTAINER_FRACTION = 4
"""Request bodies may take one part in four of the container's memory."""
_EXPOSED = (
    "x-request-id",
    "request-id",
    "x-gateway-transport",
    "x-gateway-upstream-model",
    "x-gateway-fallback",
    "x-gateway-usage",
    "Retry-After",
    "x-should-retry",
    "Deprecation",
    "Warning",
    "x-goog-upload-chunk-granularity",
    "x-goog-upload-size-received",
    "x-goog-upload-status",
    "x-goog-upload-url",
)
"""Response headers that scripts of other origins may read (CORS)."""

_log = structlog.get_logger()


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The running gateway: its apps and the handles to control it."""

    apps: Mapping[str, Any]
    """ASGI apps by listener name (`service.server.listeners`)."""
    error_body: ErrorBody
    """Writes the errors of requests that the server of the API refuses before its app sees them."""
    shutdown: Shutdown
    reload: Reload
    records: Records


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    origin: Origin,
    store_path: Path,
    serve: wiring.Serve,
) -> AsyncGenerator[Running]:
    """Open everything the apps need and yield them; close it on exit.

    Raises:
        SettingsError: the settings contradict each other.

    """
    clock, registry = SystemClock(), CollectorRegistry()
    store_observer = PrometheusStoreObserver(registry)
    async with (
        open_tracing(settings.tracing, origin) as traces,
        open_stores(settings.store, origin, store_path, clock, store_observer) as (store, copy),
        _open_url_signer(settings, origin, store_path, store.records, clock) as url_signer,
    ):
        fresh_seconds = _LICENSES_SECONDS if settings.store.remote else 0.0
        stored = LicenseStore(store.records, clock, fresh_seconds=fresh_seconds)
        licenses = Licenses(fixed_licenses(settings.licenses, origin), stored)
        base = _Base(
            settings=settings,
            origin=origin,
            clock=clock,
            registry=registry,
            store=store,
            licenses=licenses,
            files=StoredFiles(store.records, settings.files, stored.has_ended),
            url_signer=url_signer,
            shutdown=Shutdown(),
            memory=_memory(settings),
            spool=_spool(settings.limits),
            load_monitor=LoadMonitor(CgroupMemory().ratio, clock, settings.overload, registry),
            reload=Reload(settings, origin, licenses, registry, partial(check, origin=origin, store_path=None)),
            change_feed=ChangeFeed(store.records, clock, settings.store.poll_seconds),
            feed=Feed(),
            traces=traces,
            store_usable=lambda: not store_observer.file_problem,
        )
        conversations = Conversations(store.records, clock)
        base.change_feed.subscribe(LICENSES, licenses.refresh)
        base.change_feed.subscribe(LICENSES, base.files.sweep)
        async with (
            base.load_monitor.open(),
            MemoryTrimmer(base.memory, clock).open(),
            BudgetMetrics(base.memory, base.spool, registry).open(clock),
            conversations.write_behind() if settings.alone else conversations.write_together(),
            wiring.open_engine(settings, _engine_deps(base, copy, conversations, serve), origin) as engine,
            fetching(settings.fetch, settings.server.public_url, origin, lambda: licenses.count) as fetch,
            base.reload.open(clock),
            base.files.sweeping(clock),
            open_usage(settings.usage, origin, store_path, clock) as usage,
            open_jobs(JobStore(store, clock), CheckedEngine(engine), licenses, settings.jobs) as jobs,
        ):
            yield _running(base, engine, fetch, jobs, usage)


class _Base(msgspec.Struct, frozen=True, kw_only=True):
    """Dependencies that all apps share, created before an upstream is connected."""

    settings: Settings
    origin: Origin
    clock: Clock
    registry: CollectorRegistry
    store: Store
    licenses: Licenses
    files: StoredFiles
    url_signer: UrlSigner
    shutdown: Shutdown
    memory: ByteBudget
    spool: Spool
    load_monitor: LoadMonitor
    reload: Reload
    change_feed: ChangeFeed
    feed: Feed
    traces: RequestTracer | None
    store_usable: Callable[[], bool]


def _engine_deps(
    base: _Base, local_replica: Records | None, conversations: Conversations, serve: wiring.Serve
) -> wiring.EngineDeps:
    return wiring.EngineDeps(
        clock=base.clock,
        store=base.store,
        local_replica=local_replica,
        conversations=conversations,
        observer=Fanout(PrometheusObserver(base.registry), base.feed.publish),
        change_feed=base.change_feed,
        serve=serve,
        files=Files(base.memory, base.spool),
        tracer=base.traces or NO_TRACER,
        connected=base.reload.follow,
        draining=lambda: base.shutdown.draining,
        shutting_down=base.shutdown.is_leaving,
        licenses=lambda: base.licenses.count,
    )


def _running(base: _Base, engine: Router, fetch: Fetch, jobs: Runner, usage: UsageRecorder | None) -> Running:
    """Build the app of each listener."""
    jobs.leaving = base.shutdown.is_leaving
    if usage is not None:
        jobs.ended = usage.job
    base.reload.follow_routes(engine)
    settings, address = base.settings, PublicAddress.of(base.settings.server, base.origin)
    request_deps = RequestDeps(
        clock=base.clock,
        shutdown=base.shutdown,
        api=settings.api,
        limits=settings.limits,
        links=partial(MediaUrls, base.url_signer, address.base),
        fetch=fetch,
        jobs=jobs,
        responses=StoredResponses(base.store.records, settings.responses),
        files=base.files,
        memory=base.memory,
        spool=base.spool,
        pixels=PixelPool(),
        log_prompts=settings.log.prompts,
        usage=usage,
        traces=base.traces,
    )
    metrics = Metrics(base.registry, settings.limits.concurrency)
    operations = Operations(base.registry, base.shutdown, base.load_monitor, base.store_usable)
    slots = RequestSlots(base.shutdown, settings.limits.concurrency, settings.limits.concurrency_per_license)
    default = wiring.DIALECTS[0]
    media = MediaRoutes(engine, base.url_signer, base.licenses, _media_cache(settings.media, base.registry))
    media_route = media.route(default.refuse)
    limited = ConcurrencyLimit(media_route.endpoint, slots, default.refuse)  # a signed URL needs no license key
    links = Route(media_route.path, limited, methods=["GET"], name=media_route.path)
    router = RequestRouter(
        default,
        [(links, default), *_dialect_routes(engine, base.licenses, slots)],
        fixed=[] if settings.operations.port else operations.routes(),
        prefix=settings.server.prefix,
        base_url=address.base,
    )
    api = with_middleware(settings, router, base.load_monitor, metrics, request_deps, address=address)
    apps = {API: api, OPERATIONS: operations.app()}
    if settings.admin.tokens:
        from service.admin.setup import RunningGateway, create_admin_app

        gateway = RunningGateway(
            engine=engine,
            change_feed=base.change_feed,
            feed=base.feed,
            metrics=metrics,
            request_deps=request_deps,
            reload=base.reload,
        )
        apps[ADMIN] = create_admin_app(settings, base.origin, base.store.records, gateway)
    return Running(
        apps=apps,
        error_body=router.error_body,
        shutdown=base.shutdown,
        reload=base.reload,
        records=base.store.records,
    )


@asynccontextmanager
async def _open_url_signer(
    settings: Settings,
    origin: Origin,
    store_path: Path,
    records: Records,
    clock: Clock,
) -> AsyncGenerator[UrlSigner]:
    """Open the signer of media URLs.

    While a store server is unreachable, opening continues in the background; a broken store file raises at once.
    """
    location = location_of(settings.store, origin, store_path)
    async with AsyncExitStack() as stack:
        with store_errors(location, origin):
            opening = open_url_signer(settings.media, origin, records, clock, patient=location.path is None)
            signer = await stack.enter_async_context(opening)
        yield signer


def with_middleware(  # noqa: PLR0913 -- the layers' dependencies
    settings: Settings,
    router: RequestRouter,
    monitor: LoadMonitor,
    metrics: Metrics,
    deps: RequestDeps,
    *,
    address: PublicAddress,
) -> Any:
    """Return the router, wrapped in load shedding, CORS and the request context.

    The request context answers unexpected exceptions, outside of CORS; so its error responses get CORS headers too.
    """

    def cors(app: Any) -> Any:
        if not settings.server.cors_origins:
            return app
        return CORSMiddleware(  # preflight requests need no license
            app,
            allow_origins=settings.server.cors_origins,
            allow_methods=("GET", "HEAD", "POST", "DELETE"),
            allow_headers=("*",),
            allow_private_network=True,  # Chrome asks for it if a public page calls a gateway in the local network
            expose_headers=_EXPOSED,
        )

    forwarded = ForwardedValidation(router, address, router.refuse)
    shed = LoadShedding(forwarded, monitor, settings.overload.long_body_bytes, router.refuse)
    return RequestContextMiddleware(cors(shed), metrics, deps, lambda error: cors(router.refuse(error)))


def _dialect_routes(engine: Engine, licenses: Licenses, slots: RequestSlots) -> Iterator[tuple[Route, Dialect]]:
    """Yield every dialect's routes with license check and concurrency limit."""
    for dialect in wiring.DIALECTS:
        for route in dialect.routes(CheckedEngine(engine)):
            limited = ConcurrencyLimit(route.endpoint, slots, dialect.refuse)
            licensed = Licensed(limited, licenses, dialect)
            yield Route(route.path, licensed, methods=list(route.methods or ()), name=route.path), dialect


def _media_cache(media: MediaSettings, registry: CollectorRegistry) -> MediaCache | None:
    failures = Counter(
        "gateway_media_cache_failures", "Opened media that were passed on but could not be cached.", registry=registry
    )
    if media.cache_dir is None:
        return None
    try:
        return MediaCache(media.cache_dir, media.cache_bytes, failures.inc)
    except OSError as error:
        raise SettingsError(f"media.cache_dir: {media.cache_dir}: {error.strerror}") from None


def _memory(settings: Settings) -> ByteBudget:
    """Return the memory budget of request bodies."""
    limits, container = settings.limits, CgroupMemory().limit()
    total = limits.memory_bytes
    if total is None:
        part = container // (_CONTAINER_FRACTION * settings.server.workers) if container is not None else TOTAL
        total = min(TOTAL, part)
    return ByteBudget(total, limits.memory_wait_seconds)


def _spool(limits: LimitSettings) -> Spool:
    """Return the spool, which keeps large request files on disk.

    Raises:
        SettingsError: the folder is not writable.

    """
    spool = Spool(limits.spool_dir, limits.spool_bytes)
    try:
        spool.file(0)
    except Saturated:
        raise SettingsError(
            f"limits.spool_dir: {spool.folder}: cannot create a file there; make it writable or choose another folder"
        ) from None
    if spool.in_memory:
        _log.warning("spool_in_memory", folder=str(spool.folder))
    return spool
