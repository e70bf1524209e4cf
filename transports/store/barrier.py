"""Waits out old locks after anything that may have made the store lose them, before new ones are acquired.

Source: reliability 2.2
"""

from transports.clock import Clock
from transports.store.port import Locks, StoreDown


class Barrier:
    """Allows locks once the store has been available, with the same epoch, for as long as a lock may last.

    The wait starts with the first check. It restarts when a check or an acquisition fails, and when the store's epoch
    changes.
    """

    def __init__(self, locks: Locks, clock: Clock, seconds: float) -> None:
        """Wait `seconds`, the duration of the longest lock that another process may hold."""
        self._locks, self._clock, self._seconds = locks, clock, seconds
        self._epoch: str | None = None
        self._since = 0.0

    async def passed(self) -> bool:
        """Check the store, and return whether locks may be acquired.

        Raises:
            StoreDown: it cannot be reached; the wait restarts when it is back.

        """
        try:
            epoch = await self._locks.epoch()
        except StoreDown:
            self._epoch = None
            raise
        if epoch != self._epoch:
            self._epoch, self._since = epoch, self._clock.monotonic()
        return not epoch or self._clock.monotonic() - self._since >= self._seconds

    async def acquire(self, name: str, owner: str, seconds: float) -> int | None:
        """Acquire a lock as the store does, but return None during the wait or if the server has changed since.

        Raises:
            StoreDown: the store cannot be reached.

        """
        if not await self.passed():
            return None
        try:
            return await self._locks.acquire(name, owner, seconds, self._epoch)
        except StoreDown:
            self._epoch = None
            raise
