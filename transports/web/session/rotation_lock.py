"""The right to rotate an account's session. Source: reliability 6.2."""

import uuid
from contextlib import suppress

from transports.clock import Clock
from transports.store import Store
from transports.store.barrier import Barrier

LEASE_SECONDS = 45.0
"""As long as who rotates may need; who takes over comes this much later, in time for the old value's grace."""
MARGIN_SECONDS = 10.0
"""The end of a lease that is not relied on."""
CALL_SECONDS = 15.0
"""A rotation's call takes no longer."""
GAP_SECONDS = 5.0
"""A process that stood still for so long takes its lease for lost."""


class RotationLock:
    """The right to rotate an account: how much of it is left is counted from before it was asked for."""

    def __init__(self, name: str, store: Store, clock: Clock) -> None:
        """Begin without it."""
        self.owner = uuid.uuid4().hex
        self.fence = 0
        self._name, self._store, self._clock = name, store, clock
        self._since = 0.0

    async def acquire(self, barrier: Barrier) -> bool:
        """Take it; False: another one has it, or it may not be taken yet.

        Raises:
            OSError: the store is out of order.

        """
        self._since = self._clock.monotonic()
        fence = await barrier.acquire(self._name, self.owner, LEASE_SECONDS)
        self.fence = fence or 0
        return fence is not None

    async def renew_if_needed(self) -> bool:
        """Have it for a whole while again if some of it has passed; False: it is another's now.

        Raises:
            OSError: the store is out of order.

        """
        if self._clock.monotonic() - self._since <= GAP_SECONDS:
            return True
        since = self._clock.monotonic()
        if not await self._store.renew(self._name, self.owner, LEASE_SECONDS):
            return False
        self._since = since
        return True

    def has_time_for_call(self) -> bool:
        """Say whether there is time for a call, and nobody stood still since this was last certain."""
        passed = self._clock.monotonic() - self._since
        return passed <= GAP_SECONDS and LEASE_SECONDS - passed - MARGIN_SECONDS >= CALL_SECONDS

    async def release(self) -> None:
        """Let go of it; where the store is out of order, it ends by itself."""
        with suppress(OSError):
            await self._store.release(self._name, self.owner)
