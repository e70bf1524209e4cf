"""A circuit breaker: callers fail at once while the store's server does not answer."""

import random
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

from transports.clock import Clock


class BreakerObserver(Protocol):
    """Is notified about the breaker."""

    def store_breaker(self, *, is_open: bool) -> None:
        """Handle that the breaker has opened, so calls fail without asking the server, or has closed again."""
        ...


class Breaker:
    """Opens after consecutive failures, or at once after a timeout; a successful probe closes it.

    Source: reliability 2.3
    """

    def __init__(self, clock: Clock, observer: BreakerObserver, *, failures: int = 5, seconds: float = 2.0) -> None:
        """Open after `failures` in a row, and probe every `seconds`, with 25 % jitter."""
        self._clock, self._observer = clock, observer
        self._max_failures, self._seconds = failures, seconds
        self._failures = 0
        self._opened = anyio.Event()
        self._timed_out = False

    @property
    def is_open(self) -> bool:
        """Whether calls must not be sent to the server."""
        return self._opened.is_set()

    def succeed(self) -> None:
        """Record a successful call. A call that began before the breaker opened does not close it."""
        self._failures = 0

    def fail(self, *, timed_out: bool) -> None:
        """Record a failed call."""
        self._failures += 1
        if not self.is_open and (timed_out or self._failures >= self._max_failures):
            self._timed_out = timed_out
            self._opened.set()
            self._observer.store_breaker(is_open=True)

    async def run(self, probe: Callable[[], Awaitable[bool]]) -> None:
        """Call `probe` whenever the breaker is open, and close it once the probe succeeds; never returns.

        After a timeout the first probe runs at once, because the server may already answer again.
        """
        while True:
            await self._opened.wait()
            if not self._timed_out:
                await self._wait()
            while not await probe():
                await self._wait()
            self._failures, self._opened = 0, anyio.Event()
            self._observer.store_breaker(is_open=False)

    async def _wait(self) -> None:
        jitter = random.random()  # noqa: S311 -- spreads the replicas' probes; not a secret
        await self._clock.sleep(self._seconds * (0.75 + jitter / 2))
