"""Work on many bytes or pixels, done in threads beside the event loop."""

from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

ValueT = TypeVar("ValueT")

_AT_ONCE = 2

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("gemini_gateway.worker")


async def run_in_worker(work: Callable[[], ValueT]) -> ValueT:
    """Do work in a thread; no more than two pieces of it at once, the others wait."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_AT_ONCE)
        _limiter.set(limiter)
    return await in_thread(work, limiter)


async def in_thread(work: Callable[[], ValueT], limiter: anyio.CapacityLimiter | None = None) -> ValueT:
    """Do work in a thread, which has let go of it when its result is here."""
    return await anyio.to_thread.run_sync(_Once(work), limiter=limiter)


class _Once(Generic[ValueT]):
    """Work that is done once, and dropped then."""

    def __init__(self, work: Callable[[], ValueT]) -> None:
        self._work = [work]

    def __call__(self) -> ValueT:
        return self._work.pop()()
