"""The wait before the first lock, after anything that may have made the store forget one.

Source: reliability 6.2
"""

from transports.clock import Clock
from transports.store.port import Store, StoreDown


class Barrier:
    """Lets locks through once the store has been one and the same for as long as a lock may last.

    Its time begins with the first look, anew after an outage that a look or a lock met, and anew when the store's
    epoch is another than before.
    """

    def __init__(self, store: Store, clock: Clock, seconds: float) -> None:
        """Wait `seconds`: as long as the longest lock that anybody may hold."""
        self._store, self._clock, self._seconds = store, clock, seconds
        self._epoch: str | None = None
        self._since = 0.0

    async def passed(self) -> bool:
        """Look at the store, and say whether locks may be acquired.

        Raises:
            StoreDown: it is out of reach; the wait begins anew when it is back.

        """
        try:
            epoch = await self._store.epoch()
        except StoreDown:
            self._epoch = None
            raise
        if epoch != self._epoch:
            self._epoch, self._since = epoch, self._clock.monotonic()
        return not epoch or self._clock.monotonic() - self._since >= self._seconds

    async def acquire(self, name: str, owner: str, seconds: float) -> int | None:
        """Acquire a lock as the store does, None too while it may not be; only from the server that was waited for.

        Raises:
            StoreDown: it is out of reach.

        """
        if not await self.passed():
            return None
        try:
            return await self._store.acquire(name, owner, seconds, self._epoch)
        except StoreDown:
            self._epoch = None
            raise
