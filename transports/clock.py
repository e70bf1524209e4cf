"""Time as a dependency: the one module that reads the system's clocks."""

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """Tells and passes time."""

    def monotonic(self) -> float:
        """Seconds that never go back; for durations."""
        ...

    def wall(self) -> float:
        """Epoch seconds; for display and for resets that upstreams give."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return not before `seconds` have passed."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wall(self) -> float:
        """Epoch seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await anyio.sleep(seconds)
