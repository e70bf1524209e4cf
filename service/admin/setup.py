"""Builds the admin API on the transports, store and feed of the running gateway."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from protocol.model import Selection
from service import wiring
from service.accounts.offline import trial_opener
from service.accounts.route_view import RouteExplainer, UpstreamModelOf
from service.accounts.service import AccountError, AccountService, OpenTransport
from service.admin.app import BODY_BYTES, admin_app
from service.admin.errors import refusal
from service.admin.feed import Feed
from service.admin.handlers import AdminDeps
from service.admin.openapi import text
from service.admin.token_auth import AdminTokens, tokens_of
from service.config.loader import Origin, SettingsError
from service.config.schema import Settings
from service.middleware.request_context import RequestContextMiddleware, RequestDeps
from service.reload import Reload, ReloadPart
from service.storage.factory import cipher_of, location_of
from service.telemetry.metrics import Metrics
from transports.base import Transport
from transports.router import Router
from transports.store import ChangeFeed, Records


class RunningGateway(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of the running gateway that the admin API uses."""

    engine: Router
    change_feed: ChangeFeed
    feed: Feed
    metrics: Metrics
    request_deps: RequestDeps
    reload: Reload


def create_admin_app(settings: Settings, origin: Origin, records: Records, running: RunningGateway) -> Any:
    """Create the admin app and reload its tokens when their files change.

    Raises:
        SettingsError: a token or a transport's settings are invalid.

    """
    configs, request_deps = wiring.transport_settings(settings, origin), running.request_deps
    deps = AdminDeps(
        accounts=AccountService(
            configs,
            records,
            request_deps.clock,
            running_transport_opener(running.engine, running.change_feed),
            running.engine.catalogue,
        ),
        open_trial=trial_opener(configs, request_deps.clock),
        records=records,
        routes=RouteExplainer(
            running.engine.catalogue, lambda: running.engine.routes, running_model_of(running.engine)
        ),
        change_feed=running.change_feed,
        kind="redis" if location_of(settings.store, origin, Path()).path is None else "sqlite",
        encrypted=cipher_of(settings.store, origin).can_encrypt,
        feed=running.feed,
        drain=request_deps.shutdown,
        description=text().encode(),
    )
    tokens = tokens_of(settings.admin, origin)
    running.reload.add(token_reload(tokens, settings, origin))
    app = admin_app(deps, tokens)
    limits = msgspec.structs.replace(request_deps.limits, body_bytes=min(request_deps.limits.body_bytes, BODY_BYTES))
    return RequestContextMiddleware(app, running.metrics, msgspec.structs.replace(request_deps, limits=limits), refusal)


def token_reload(tokens: AdminTokens, settings: Settings, origin: Origin) -> ReloadPart:
    """Return the part of a reload that reads the token files again."""
    strict = not wiring.is_simulated(settings, origin)
    files = [one.token_file for one in settings.admin.tokens if one.token_file is not None]

    def reload() -> list[str]:
        try:
            tokens.known = tokens_of(settings.admin, origin, strict=strict).known
        except SettingsError:
            return [str(file) for file in files]
        return []

    return ReloadPart(files, reload)


def running_model_of(engine: Router) -> UpstreamModelOf:
    """Return a function that says which model a transport of the running gateway asks its upstream for."""
    transports = {failover.transport.name: failover.transport for failover in engine.failovers}

    def model_of(name: str, selection: Selection) -> str | None:
        transport = transports[name]
        return transport.quota_of(selection) if transport.offers(selection) else None

    return model_of


def running_transport_opener(engine: Router, change_feed: ChangeFeed) -> OpenTransport:
    """Return a function that yields a transport of the running gateway instead of opening another one."""

    @asynccontextmanager
    async def open_transport(name: str, _account: str) -> AsyncGenerator[Transport]:
        await change_feed.poll()  # find an account that was just added
        for failover in engine.failovers:
            if failover.transport.name == name:
                yield failover.transport
                return
        raise AccountError("unusable", f"the transport {name[:64]!r} is not running in this process")

    return open_transport
