"""Schedules Python's garbage collector so that it does not delay requests.

Requests leave no cycles of objects behind: reference counts free what they used. The collector is there for the rare
cycle, as of an error and its traceback. But by default it looks through all open streams again and again: a thousand
of them are 370,000 objects, which take a tenth of a second, during which no stream goes on.

So new objects are looked through in small parts, which takes a millisecond each time, and what lives longer only
while no request is open, or after ten minutes. What exists when the process begins to answer stays, and is never
looked through.
"""

import gc
from collections.abc import Callable

from transports.clock import Clock
from transports.tasks import every

_YOUNG = 5000
"""New objects until they are looked through."""
_NEVER = 1_000_000_000
_LOOK_SECONDS = 1.0
_LONGEST_SECONDS = 600.0


class Collector:
    """Looks for cycles of long-lived objects when no request is open."""

    def __init__(self, in_flight: Callable[[], int], clock: Clock) -> None:
        """Look when `in_flight` says that no request is open."""
        self._in_flight, self._clock = in_flight, clock
        self._collected = clock.monotonic()

    def begin(self) -> None:
        """Set the collector up for a process that begins to answer."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG, _NEVER, _NEVER)

    def look(self) -> None:
        """Collect all generations, if objects may have become old since the last time and it is time."""
        _, aged, _ = gc.get_count()
        now = self._clock.monotonic()
        if aged and (not self._in_flight() or now - self._collected >= _LONGEST_SECONDS):
            gc.collect()
            self._collected = now

    async def run(self) -> None:
        """Look for ever."""
        await every(_LOOK_SECONDS, self.look, self._clock, wait=True)
