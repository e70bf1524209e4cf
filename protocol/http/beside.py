"""Work on many bytes or pixels, done beside the event loop."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

ValueT = TypeVar("ValueT")

_AT_ONCE = 2

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("gemini_gateway.beside")


async def beside(work: Callable[[], ValueT]) -> ValueT:
    """Do work in a thread; no more than two pieces of it at once, the others wait."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_AT_ONCE)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(work, limiter=limiter)
