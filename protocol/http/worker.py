"""Runs CPU-heavy work in worker threads, so that the event loop stays free."""

from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

ValueT = TypeVar("ValueT")

_AT_ONCE = 2


class WorkerThreads:
    """Threads for one kind of work: at most two at once in each event loop."""

    def __init__(self, name: str) -> None:
        """Keep the limit under `name`."""
        self._limiter: RunVar[anyio.CapacityLimiter] = RunVar(f"gemini_gateway.{name}")

    async def run(self, work: Callable[[], ValueT]) -> ValueT:
        """Run `work` in a thread; wait while two others run."""
        limiter = self._limiter.get(None)
        if limiter is None:
            limiter = anyio.CapacityLimiter(_AT_ONCE)
            self._limiter.set(limiter)
        return await in_thread(work, limiter)


_workers = WorkerThreads("worker")


async def run_in_worker(work: Callable[[], ValueT]) -> ValueT:
    """Run `work` in a worker thread; at most two run at once."""
    return await _workers.run(work)


async def in_thread(work: Callable[[], ValueT], limiter: anyio.CapacityLimiter | None = None) -> ValueT:
    """Run `work` in a thread, which keeps no reference to it after it returns."""
    return await anyio.to_thread.run_sync(_Once(work), limiter=limiter)


class _Once(Generic[ValueT]):
    """A callable that runs once and then drops its reference to the work."""

    def __init__(self, work: Callable[[], ValueT]) -> None:
        self._work = [work]

    def __call__(self) -> ValueT:
        return self._work.pop()()
