"""Runs work on decoded pictures in threads, limited by the total number of pixels being processed.

Small pictures are worked on side by side, one of 50 megapixels alone. Waiting work is served in turns of one per
license. What takes more than 64 MiB decoded is reserved from the budget of memory first.
"""

import math
import os
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter

from protocol.http.budget import MIB, ByteBudget, Reservation
from protocol.http.concurrency import in_thread

ValueT = TypeVar("ValueT")

MOST_PIXELS = 50_000_000
"""Pixels of all pictures in work. A picture that has more is not decoded."""
_BYTES_PER_PIXEL = 8
"""A decoded picture, and what is made of it."""
_UNRESERVED = 64 * MIB
_MOST_THREADS = 4
_MOST_WAITING = 1000


class PixelPool:
    """Threads that work on pictures."""

    def __init__(self, most: int = MOST_PIXELS, threads: int | None = None) -> None:
        """Work on pictures of `most` pixels in all at once; by default in one thread per processor, up to four."""
        self._pixels = ByteBudget(most, math.inf, most_waiting=_MOST_WAITING)
        self._threads = threads or min(_MOST_THREADS, os.cpu_count() or 1)
        self._limiter: CapacityLimiter | None = None

    @property
    def at_work(self) -> int:
        """The pixels of all pictures in work."""
        return self._pixels.used

    async def run(self, work: Callable[[], ValueT], pixels: int, memory: ByteBudget, owner: str) -> ValueT:
        """Run work on a picture of `pixels` pixels and return its result; `owner` is the license.

        Raises:
            Saturated: there is no memory for it.

        """
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._threads)
        size = pixels * _BYTES_PER_PIXEL
        reserved, place = Reservation(memory, owner), Reservation(self._pixels, owner)
        try:
            if size > _UNRESERVED:
                await reserved.raise_to(min(size, memory.total))
            await place.raise_to(min(pixels, self._pixels.total))
            return await in_thread(work, self._limiter)
        finally:
            place.release()
            reserved.release()
