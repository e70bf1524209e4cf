"""The lock and the intent of a rotation: one process at a time rotates an account's session. Source: reliability 2.2.

Theory of operation. A process that was suspended may believe that it still has a lock that has expired. So the lock's
time counts from before the request for it, and `has_time_for_call` allows a call only if the process was not suspended
meanwhile and the call must end well before the lock does. The intent is stored before the call. It has no outcome while
the call runs, so a process that takes over knows that the site may have issued a new value.

Example: the lock is acquired at second 0, for 45 seconds. A call at second 3 is allowed: it ends by second 18. A
process that was suspended until second 20 must renew the lock first.
"""

import uuid
from contextlib import suppress

import msgspec

from transports.clock import Clock
from transports.store import Locks
from transports.store.barrier import Barrier

LOCK_SECONDS = 45.0
"""Longer than a rotation takes, and short enough for a takeover within the old value's grace period."""

MARGIN_SECONDS = 10.0
"""Safety margin before the lock expires."""

CALL_SECONDS = 15.0
"""Timeout of the rotation call."""

GAP_SECONDS = 5.0
"""A process that was suspended longer than this assumes that it lost the lock."""


class RotationLock:
    """A lock on one account's rotation; its remaining time counts from before the request for it."""

    def __init__(self, name: str, locks: Locks, clock: Clock) -> None:
        """Create the lock, not acquired."""
        self.owner = uuid.uuid4().hex
        self.fence = 0
        self._name, self._locks, self._clock = name, locks, clock
        self._since = 0.0

    async def acquire(self, barrier: Barrier) -> bool:
        """Acquire the lock; return False if another process holds it or the barrier has not passed.

        Raises:
            OSError: the store is unavailable.

        """
        self._since = self._clock.monotonic()
        fence = await barrier.acquire(self._name, self.owner, LOCK_SECONDS)
        self.fence = fence or 0
        return fence is not None

    async def renew_if_needed(self) -> bool:
        """Renew the lock if part of its time has passed; return False if it was lost.

        Raises:
            OSError: the store is unavailable.

        """
        if self._clock.monotonic() - self._since <= GAP_SECONDS:
            return True
        since = self._clock.monotonic()
        if not await self._locks.renew(self._name, self.owner, LOCK_SECONDS):
            return False
        self._since = since
        return True

    def has_time_for_call(self) -> bool:
        """Return whether enough time is left for a call, and the process was not suspended since the last check."""
        passed = self._clock.monotonic() - self._since
        return passed <= GAP_SECONDS and LOCK_SECONDS - passed - MARGIN_SECONDS >= CALL_SECONDS

    async def release(self) -> None:
        """Release the lock; if the store is unavailable, the lock expires."""
        with suppress(OSError):
            await self._locks.release(self._name, self.owner)


class RotationIntent(msgspec.Struct, frozen=True, kw_only=True):
    """A rotation that was started, and its outcome."""

    fence: int
    owner: str
    started: float
    """Epoch seconds of the store's clock."""
    old_hash: str
    """Fingerprint of the cookies sent with the call."""
    outcome: str = ""
    """Empty while the call runs, or if its process ended before it wrote the outcome."""

    @property
    def open(self) -> bool:
        """Whether the site may have issued a new value that was not saved; the old one works for its grace period."""
        return self.outcome in {"", "unknown"}


encode_intent = msgspec.json.Encoder().encode

_decode = msgspec.json.Decoder(RotationIntent).decode


def read_intent(value: bytes) -> RotationIntent | None:
    """Decode a stored intent; return None if it is unreadable."""
    try:
        return _decode(value)
    except msgspec.MsgspecError:
        return None
