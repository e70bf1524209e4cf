"""Serves `/livez`, `/readyz`, `/metrics`, and `/healthz`, an alias of `/livez`."""

import os
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from protocol.http.errors import HttpError
from service.server.errors import error_body
from service.server.shutdown import Shutdown
from transports.metrics import MULTIPROCESS_DIRECTORY

_log = structlog.get_logger()

PATHS = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})


class LoadStatus(Protocol):
    """The load of the process."""

    @property
    def alive(self) -> bool:
        """Whether the event loop runs."""
        ...

    @property
    def overloaded(self) -> bool:
        """Whether load balancers should prefer other replicas."""
        ...


class Operations:
    """Serves probes and metrics of this process alone; upstreams and the store do not count.

    `/readyz` names a store whose file cannot be used, and stays 200: requests are served.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        shutdown: Shutdown,
        status: LoadStatus,
        store_usable: Callable[[], bool] = lambda: True,
    ) -> None:
        """Show `registry`, or what all workers have put together; `store_usable` is a detail of readiness."""
        self._registry, self._shutdown, self._status, self._store_usable = registry, shutdown, status, store_usable

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/livez", self.livez, name="/livez"),
            Route("/healthz", self.livez, name="/healthz"),
            Route("/readyz", self.readyz, name="/readyz"),
            Route("/metrics", self.metrics, name="/metrics"),
        ]

    def app(self) -> Any:
        """Return an app that answers these routes and nothing else."""
        app = Starlette(routes=self.routes(), exception_handlers={HTTPException: _refuse})
        app.router.redirect_slashes = False
        return app

    async def livez(self, _: Request) -> Response:
        """Report whether the event loop runs; an orchestrator restarts the process if it does not."""
        if not self._status.alive:
            return JSONResponse({"status": "stuck"}, 503)
        return JSONResponse({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        """Report whether new requests are accepted; the health of upstreams does not count."""
        if self._shutdown.leaving:
            return JSONResponse({"status": "draining"}, 503)
        if self._status.overloaded:
            return JSONResponse({"status": "overloaded"}, 503)
        return JSONResponse({"status": "ready"} | ({} if self._store_usable() else {"store": "file_unusable"}))

    async def metrics(self, request: Request) -> Response:
        """Return the metrics of this process, or of all workers; as OpenMetrics, with exemplars, on request."""
        registry = self._registry
        if MULTIPROCESS_DIRECTORY in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        written, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(written(registry), media_type=None, headers={"content-type": kind})


def _refuse(_: Request, error: Exception) -> Response:
    """Respond to an unknown path or a method that a path does not support."""
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for HTTPException only
    status = HTTPStatus(error.status_code)
    fault = HttpError(status, status.name.lower(), f"{status.phrase}. The paths are {', '.join(sorted(PATHS))}.")
    _log.info("request_refused", status=fault.status, error=fault.code, reason=fault.message)
    return Response(error_body(fault), fault.status, error.headers, media_type="application/json")
