"""Schedules Python's garbage collector so that it does not delay requests.

Requests leave no reference cycles behind: reference counting frees their objects. The collector is needed for rare
cycles only, such as an error and its traceback. But by default it scans all objects of open streams again and again: a
thousand streams are 370,000 objects, and scanning them stops all streams for a tenth of a second.

So new objects are scanned in small batches, which takes a millisecond each, and older objects only while no request is
open, or after ten minutes. Objects that exist when the process starts to serve requests are frozen: never scanned.
"""

import gc
from collections.abc import Callable

from transports.clock import Clock
from transports.tasks import every

_YOUNG = 5000
"""Number of new objects that triggers a scan."""
_NEVER = 1_000_000_000
_LOOK_SECONDS = 1.0
_LONGEST_SECONDS = 600.0


class GarbageCollector:
    """Collects cycles of long-lived objects while no request is open, or if the last collection was ten minutes ago."""

    def __init__(self, in_flight: Callable[[], int], clock: Clock) -> None:
        """`in_flight` returns the number of open requests."""
        self._in_flight, self._clock = in_flight, clock
        self._collected = clock.monotonic()

    def configure(self) -> None:
        """Configure the collector when the process starts to serve requests."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG, _NEVER, _NEVER)

    def collect_if_idle(self) -> None:
        """Collect all generations if objects have survived a scan of the young generation.

        It does nothing while requests are open, unless the last collection was ten minutes ago.
        """
        _, aged, _ = gc.get_count()
        now = self._clock.monotonic()
        if aged and (not self._in_flight() or now - self._collected >= _LONGEST_SECONDS):
            gc.collect()
            self._collected = now

    async def run(self) -> None:
        """Collect regularly until cancelled."""
        await every(_LOOK_SECONDS, self.collect_if_idle, self._clock, wait=True)
