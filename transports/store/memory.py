"""A store in the memory of one process, for tests and for data that need not survive the process."""

from collections.abc import Sequence

import msgspec

from transports.clock import Clock
from transports.store.encryption import Cipher
from transports.store.port import COLLECTIONS, FULL, Bucket, Change, Collection, KeyRange, Record
from transports.store.records import BaseRecords

_GRAIN = 1e-6
"""Shorter waits are rounding errors."""


class _MemoryRecord(msgspec.Struct):
    value: bytes
    version: int
    until: float | None
    """When it expires, by the monotonic clock; None: never."""


class MemoryStore(BaseRecords):
    """A store in memory, with all three ports; its methods never wait."""

    def __init__(self, clock: Clock, cipher: Cipher | None = None) -> None:
        """Create an empty store."""
        super().__init__(cipher)
        self._clock = clock
        self._collections: dict[str, dict[str, _MemoryRecord]] = {collection.name: {} for collection in COLLECTIONS}
        self._revisions = dict.fromkeys(self._collections, 0)
        self._versions = self._fences = 0
        self._locks: dict[str, tuple[str, float]] = {}
        self._slots: dict[str, dict[str, float]] = {}
        self._buckets: dict[str, tuple[float, float]] = {}

    async def revisions(self) -> dict[str, int]:
        """Return the revision of each collection."""
        return dict(self._revisions)

    async def acquire(self, name: str, owner: str, seconds: float, epoch: str | None = None) -> int | None:
        """Acquire a lock unless another owner holds it; return a fencing token."""
        holder, until = self._locks.get(name, (owner, 0.0))
        now = self._clock.monotonic()
        if epoch or (holder != owner and until > now):
            return None
        self._locks[name] = (owner, now + seconds)
        self._fences += 1
        return self._fences

    async def renew(self, name: str, owner: str, seconds: float) -> bool:
        """Extend a lock; return False if the owner no longer holds it."""
        holder, until = self._locks.get(name, ("", 0.0))
        now = self._clock.monotonic()
        if holder != owner or until <= now:
            return False
        self._locks[name] = (owner, now + seconds)
        return True

    async def release(self, name: str, owner: str) -> None:
        """Release a lock if the owner holds it."""
        if self._locks.get(name, ("", 0.0))[0] == owner:
            del self._locks[name]

    async def take_slot(
        self,
        name: str,
        holder: str,
        *,
        slots: int,
        seconds: float,
        buckets: Sequence[Bucket] = (),
    ) -> float:
        """Take a slot and a token from each bucket, or nothing."""
        now = self._clock.monotonic()
        taken = self._taken(name, now)
        if holder not in taken and len(taken) >= slots:
            return FULL
        levels: dict[str, float] = {}
        for bucket in buckets:
            level, since = self._buckets.get(bucket.name, (bucket.capacity, now))
            levels[bucket.name] = min(bucket.capacity, level + (now - since) * bucket.per_second)
        wait = max(((1.0 - levels[bucket.name]) / bucket.per_second for bucket in buckets), default=0.0)
        if wait > _GRAIN:
            return wait
        taken[holder] = now + seconds
        self._buckets |= {drawn: (level - 1.0, now) for drawn, level in levels.items()}
        return 0.0

    async def renew_slots(self, slots: Sequence[tuple[str, str]], seconds: float) -> None:
        """Extend slots to `seconds` from now."""
        now = self._clock.monotonic()
        for name, holder in slots:
            self._taken(name, now)[holder] = now + seconds

    async def release_slots(self, slots: Sequence[tuple[str, str]]) -> None:
        """Release slots."""
        for name, holder in slots:
            taken = self._slots.get(name, {})
            taken.pop(holder, None)
            if not taken:
                self._slots.pop(name, None)

    async def count_slots(self, name: str) -> int:
        """Return the number of slots taken under a name."""
        return len(self._taken(name, self._clock.monotonic()))

    async def now(self) -> float:
        """Return the time in epoch seconds."""
        return self._clock.wall()

    async def epoch(self) -> str:
        """Return an empty string: locks live as long as the process that uses them."""
        return ""

    async def settle(self) -> bool:
        """Return True at once: there is nothing to wait for."""
        return True

    async def _get(self, collection: Collection, key: str) -> Record | None:
        found = self._find(collection, key)
        return None if found is None else self._record(key, found)

    async def _get_many(self, collection: Collection, keys: Sequence[str]) -> list[Record]:
        return [self._record(key, found) for key in keys if (found := self._find(collection, key)) is not None]

    async def _write(self, changes: Sequence[Change]) -> list[int | None]:
        return [self._change(change) for change in changes]

    def _change(self, change: Change) -> int | None:
        """Apply a change; return the new version, 0 for a removal, None if the expected version did not match."""
        collection, found = change.collection, self._find(change.collection, change.key)
        if change.expected is not None and change.expected != (found.version if found is not None else 0):
            return None
        if change.value is None and found is None:
            return None
        self._versions += 1
        self._revisions[collection.name] = self._versions
        if change.value is None:
            del self._collections[collection.name][change.key]
            return 0
        until = None if change.seconds is None else self._clock.monotonic() + change.seconds
        self._collections[collection.name][change.key] = _MemoryRecord(change.value, self._versions, until)
        return self._versions

    async def _scan(self, key_range: KeyRange) -> list[Record]:
        keys = self._collections[key_range.collection.name]
        return [self._record(key, keys[key]) for key in await self._keys(key_range)]

    async def _keys(self, key_range: KeyRange) -> list[str]:
        collection, after, reverse = key_range.collection, key_range.after, key_range.reverse
        records = [key for key in self._collections[collection.name] if key.startswith(key_range.prefix)]
        found = sorted((key for key in records if self._find(collection, key)), reverse=reverse)
        if after:
            found = [key for key in found if (key < after) == reverse and key != after]
        return found[: key_range.limit]

    def _find(self, collection: Collection, key: str) -> _MemoryRecord | None:
        found = self._collections[collection.name].get(key)
        if found is not None and found.until is not None and found.until <= self._clock.monotonic():
            del self._collections[collection.name][key]
            return None
        return found

    def _record(self, key: str, found: _MemoryRecord) -> Record:
        left = None if found.until is None else found.until - self._clock.monotonic()
        return Record(key=key, value=found.value, version=found.version, seconds=left)

    def _taken(self, name: str, now: float) -> dict[str, float]:
        taken = self._slots.setdefault(name, {})
        for holder in [holder for holder, until in taken.items() if until <= now]:
            del taken[holder]
        return taken
