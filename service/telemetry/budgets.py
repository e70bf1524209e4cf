"""Metrics of what long bodies and pictures hold: in memory, and on disk."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge

from protocol.http.budget import ByteBudget
from protocol.http.spool import Spool
from transports.clock import Clock
from transports.tasks import background_tasks

_LOOK_SECONDS = 1.0


class BudgetMetrics:
    """Shows the budget of memory and the spool, as of the last second."""

    def __init__(self, memory: ByteBudget, spool: Spool, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._memory, self._spool, self._registry = memory, spool, registry
        self._reserved = self._gauge("gateway_body_memory_bytes", "Memory reserved for long bodies and pictures.")
        self._waiting = self._gauge("gateway_body_memory_waiting", "Requests that wait for memory.")
        self._bytes = self._gauge("gateway_spool_bytes", "Bytes of the files of open requests on disk.")
        self._files = self._gauge("gateway_spool_files", "Files of open requests on disk.")
        self._gauge("gateway_body_memory_limit_bytes", "Memory that can be reserved.").set(memory.total)
        self._gauge("gateway_spool_limit_bytes", "Bytes that the files may have.").set(spool.total)
        self._refused = (
            Counter(
                "gateway_body_memory_refused",
                "Requests answered 503 because no memory was free in time.",
                registry=registry,
            ),
            Counter(
                "gateway_spool_refused",
                "Requests answered 503 because no space on disk was left.",
                registry=registry,
            ),
        )
        self._seen = [0, 0]

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(name, words, registry=self._registry, multiprocess_mode="livesum")

    def look(self) -> None:
        """Show what is held now."""
        self._reserved.set(self._memory.used)
        self._waiting.set(self._memory.waiting)
        self._bytes.set(self._spool.used)
        self._files.set(self._spool.files)
        for index, total in enumerate((self._memory.refused, self._spool.refused)):
            self._refused[index].inc(total - self._seen[index])
            self._seen[index] = total

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncGenerator[None]:
        """Look each second for as long as the context lasts."""

        async def run() -> None:
            while True:
                self.look()
                await clock.sleep(_LOOK_SECONDS)

        async with background_tasks() as tasks:
            tasks.start_soon(run)
            yield
