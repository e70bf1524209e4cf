"""Spares callers the wait for a server that does not answer."""

import random
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

from transports.clock import Clock


class BreakerObserver(Protocol):
    """Hears of the breaker."""

    def store_breaker(self, *, is_open: bool) -> None:
        """It has opened, so that nobody asks the store, or closed again."""
        ...


class Breaker:
    """Opens after failures in a row, and at once after one that was waited for; one probe at a time closes it.

    Source: reliability 6.3
    """

    def __init__(self, clock: Clock, observer: BreakerObserver, *, failures: int = 5, seconds: float = 2.0) -> None:
        """Open after so many failures, and stay so for `seconds`, give or take a quarter, between probes."""
        self._clock, self._observer = clock, observer
        self._most, self._seconds = failures, seconds
        self._failures = 0
        self._opened = anyio.Event()
        self._waited = False

    @property
    def is_open(self) -> bool:
        """Whether the store is not to be asked."""
        return self._opened.is_set()

    def succeed(self) -> None:
        """Note that a call was answered; what was asked before the breaker opened does not close it."""
        self._failures = 0

    def fail(self, *, waited: bool) -> None:
        """Note that a call failed; `waited`: nothing came in the time that it had."""
        self._failures += 1
        if not self.is_open and (waited or self._failures >= self._most):
            self._waited = waited
            self._opened.set()
            self._observer.store_breaker(is_open=True)

    async def run(self, probe: Callable[[], Awaitable[bool]]) -> None:
        """Whenever it is open, ask `probe` whether it may close; for ever.

        What only took too long once is asked at once: nobody is kept from a server that answers again.
        """
        while True:
            await self._opened.wait()
            if not self._waited:
                await self._rest()
            while not await probe():
                await self._rest()
            self._failures, self._opened = 0, anyio.Event()
            self._observer.store_breaker(is_open=False)

    async def _rest(self) -> None:
        luck = random.random()  # noqa: S311 -- keeps replicas apart, hides nothing
        await self._clock.sleep(self._seconds * (0.75 + luck / 2))
