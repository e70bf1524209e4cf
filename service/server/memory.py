"""Returns freed memory to the system."""

import ctypes
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio.to_thread

from protocol.http.budget import ByteBudget
from transports.clock import Clock
from transports.tasks import background_tasks, every

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MMAP_BYTES = 1024 * 1024
"""Larger than a block of a body: mapping memory for each block would take longer than decoding it."""
_TRIM_BYTES = 4 * 1024 * 1024
_ARENAS = 2
_BURST_BYTES = 16 * 1024 * 1024
_LOOK_SECONDS = 1.0


def set_allocator() -> None:
    """Configure glibc's allocator to return freed memory to the system.

    By default, glibc raises its mmap threshold to the size of the largest freed object. Large objects then come from
    the heap, where freed memory stays allocated between objects that live on, once per thread.
    """
    mallopt = _libc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)


class MemoryTrimmer:
    """Returns freed memory to the system after many or long bodies."""

    def __init__(self, budget: ByteBudget, clock: Clock) -> None:
        """Watch the memory that bodies take from `budget`."""
        self._budget, self._clock = budget, clock
        self._trim = _libc("malloc_trim")

    async def trim_if_unused(self) -> None:
        """Return memory to the system if bodies used much since the last check and use little now."""
        budget = self._budget
        if self._trim is not None and budget.peak >= _BURST_BYTES and budget.used <= budget.peak // 4:
            budget.peak = budget.used
            await anyio.to_thread.run_sync(self._trim, 0)

    async def run(self) -> None:
        """Check every second until cancelled."""
        await every(_LOOK_SECONDS, self.trim_if_unused, self._clock, wait=True)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Check every second until the context exits."""
        async with background_tasks() as tasks:
            tasks.start_soon(self.run)
            yield


def _libc(name: str) -> Callable[..., int] | None:
    """Return a function of the C library, or None."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
