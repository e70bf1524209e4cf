"""Runs work on decoded pictures in threads, limited by the total number of pixels being processed.

Small pictures are processed concurrently, one of 50 megapixels alone. Waiting work is served in turn, one picture per
license. A picture that takes more than 64 MiB when decoded first reserves bytes of the memory budget: at most half of
it, since the other requests and the picture's own file hold bytes, too.
"""

import math
import os
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter

from protocol.http.budget import MIB, ByteBudget, Reservation
from protocol.http.parallel import in_thread

ValueT = TypeVar("ValueT")

MOST_PIXELS = 50_000_000
"""The limit of pixels in all pictures being processed. A larger picture is not decoded."""
_BYTES_PER_PIXEL = 8
"""For the decoded picture and the result."""
_UNRESERVED = 64 * MIB
_MOST_THREADS = 4
_MOST_WAITING = 1000


class PixelPool:
    """A pool of threads that process pictures."""

    def __init__(self, most: int = MOST_PIXELS, threads: int | None = None) -> None:
        """Process at most `most` pixels at once, by default in one thread per processor, up to four."""
        self._pixels = ByteBudget(most, math.inf, most_waiting=_MOST_WAITING)
        self._threads = threads or min(_MOST_THREADS, os.cpu_count() or 1)
        self._limiter: CapacityLimiter | None = None

    @property
    def at_work(self) -> int:
        """The pixels of all pictures being processed."""
        return self._pixels.used

    async def run(self, work: Callable[[], ValueT], pixels: int, memory: ByteBudget, owner: str) -> ValueT:
        """Run work on a picture of `pixels` pixels and return its result; `owner` is the license.

        Raises:
            Saturated: the memory budget is full.

        """
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._threads)
        size = pixels * _BYTES_PER_PIXEL
        reserved, slot = Reservation(memory, owner), Reservation(self._pixels, owner)
        try:
            if size > _UNRESERVED:
                await reserved.raise_to(min(size, memory.total // 2))
            await slot.raise_to(min(pixels, self._pixels.total))
            return await in_thread(work, self._limiter)
        finally:
            slot.release()
            reserved.release()
