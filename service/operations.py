"""The operator's routes: `/healthz`, `/readyz`, `/metrics`."""

import os

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.drain import Drain

MULTIPROCESS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Where the workers of one gateway put their metrics together; prometheus_client reads it at import."""


class Operations:
    """Answers the operator's probes and Prometheus."""

    def __init__(self, registry: CollectorRegistry, drain: Drain) -> None:
        """Show `registry`, or what all workers have put together."""
        self._registry, self._drain = registry, drain

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/healthz", self.healthz, name="/healthz"),
            Route("/readyz", self.readyz, name="/readyz"),
            Route("/metrics", self.metrics, name="/metrics"),
        ]

    async def healthz(self, _: Request) -> Response:
        """Say that the process answers."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        """Say whether new requests are taken; upstreams' health is no part of it, each request tells."""
        if self._drain.draining:
            return JSONResponse({"status": "draining"}, 503)
        return JSONResponse({"status": "ready"})

    async def metrics(self, _: Request) -> Response:
        """Show the metrics of this process, or of all workers."""
        registry = self._registry
        if MULTIPROCESS_DIRECTORY in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return Response(generate_latest(registry), media_type=None, headers={"content-type": CONTENT_TYPE_LATEST})
