"""Exports metrics of the memory and disk space that long bodies and pictures use."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge

from protocol.http.budget import ByteBudget
from protocol.http.spool import Spool
from transports.clock import Clock
from transports.tasks import background_tasks, every

_LOOK_SECONDS = 1.0


class BudgetMetrics:
    """Metrics of the memory budget and the spool, updated every second."""

    def __init__(self, memory: ByteBudget, spool: Spool, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._memory, self._spool, self._registry = memory, spool, registry
        self._reserved = self._gauge("gateway_body_memory_bytes", "Memory reserved for long bodies and pictures.")
        self._waiting = self._gauge("gateway_body_memory_queue_length", "Requests waiting for memory.")
        self._bytes = self._gauge("gateway_spool_bytes", "Bytes of the files of open requests on disk.")
        self._files = self._gauge("gateway_spool_files", "Files of open requests on disk.")
        self._gauge("gateway_body_memory_limit_bytes", "Memory that can be reserved.").set(memory.total)
        self._gauge("gateway_spool_limit_bytes", "Bytes that files of open requests may use on disk.").set(spool.total)
        self._refused = (
            Counter(
                "gateway_body_memory_rejections",
                "Requests refused with 503 because no memory became free in time.",
                registry=registry,
            ),
            Counter(
                "gateway_spool_rejections",
                "Requests refused with 503 because the disk space was used up.",
                registry=registry,
            ),
        )
        self._seen = [0, 0]

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry, multiprocess_mode="livesum")

    def update(self) -> None:
        """Update the metrics."""
        self._reserved.set(self._memory.used)
        self._waiting.set(self._memory.waiting)
        self._bytes.set(self._spool.used)
        self._files.set(self._spool.files)
        for index, total in enumerate((self._memory.refused, self._spool.refused)):
            self._refused[index].inc(total - self._seen[index])
            self._seen[index] = total

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncGenerator[None]:
        """Update the metrics every second until the context exits."""
        async with background_tasks() as tasks:
            tasks.start_soon(every, _LOOK_SECONDS, self.update, clock)
            yield
