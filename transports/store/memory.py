"""A store in the memory of one process, for tests and for data that need not survive the process."""

from collections.abc import Sequence

import msgspec

from transports.clock import Clock
from transports.store.port import COLLECTIONS, FULL, Bucket, Change, Collection, Record

_GRAIN = 1e-6
"""Shorter waits are rounding errors."""


class _Kept(msgspec.Struct):
    value: bytes
    version: int
    until: float | None


class MemoryStore:
    """A store in memory; its methods never wait."""

    def __init__(self, clock: Clock) -> None:
        """Create an empty store."""
        self._clock = clock
        self._collections: dict[str, dict[str, _Kept]] = {collection.name: {} for collection in COLLECTIONS}
        self._revisions = dict.fromkeys(self._collections, 0)
        self._versions = self._fences = 0
        self._locks: dict[str, tuple[str, float]] = {}
        self._slots: dict[str, dict[str, float]] = {}
        self._buckets: dict[str, tuple[float, float]] = {}

    async def get(self, collection: Collection, key: str) -> Record | None:
        """Return a record, or None if there is none."""
        kept = self._find(collection, key)
        return None if kept is None else self._record(key, kept)

    async def put(
        self,
        collection: Collection,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        seconds: float | None = None,
    ) -> int | None:
        """Write a record; return its version, or None if the expected version did not match."""
        kept = self._find(collection, key)
        if expected is not None and expected != (kept.version if kept is not None else 0):
            return None
        self._versions += 1
        self._revisions[collection.name] = self._versions
        until = None if seconds is None else self._clock.monotonic() + seconds
        self._collections[collection.name][key] = _Kept(value, self._versions, until)
        return self._versions

    async def remove(self, collection: Collection, key: str, *, expected: int | None = None) -> bool:
        """Remove a record; return whether it was removed."""
        kept = self._find(collection, key)
        if kept is None or expected not in {None, kept.version}:
            return False
        del self._collections[collection.name][key]
        self._versions += 1
        self._revisions[collection.name] = self._versions
        return True

    async def write(self, changes: Sequence[Change]) -> list[int | None]:
        """Apply several changes; return the result of each."""
        return [await self._change(change) for change in changes]

    async def scan(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Record]:
        """Return the records whose keys begin with `prefix`, sorted by key."""
        names = await self.keys(collection, prefix, after=after, limit=limit, reverse=reverse)
        return [self._record(key, self._collections[collection.name][key]) for key in names]

    async def keys(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[str]:
        """Return the keys that begin with `prefix`, sorted."""
        there = [key for key in self._collections[collection.name] if key.startswith(prefix)]
        found = sorted((key for key in there if self._find(collection, key)), reverse=reverse)
        if after:
            found = [key for key in found if (key < after) == reverse and key != after]
        return found[:limit]

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
        levels = {bucket.name: self._level(bucket, now) for bucket in buckets}
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

    async def _change(self, change: Change) -> int | None:
        collection, key, expected = change.collection, change.key, change.expected
        if change.value is None:
            return 0 if await self.remove(collection, key, expected=expected) else None
        return await self.put(collection, key, change.value, expected=expected, seconds=change.seconds)

    def _find(self, collection: Collection, key: str) -> _Kept | None:
        kept = self._collections[collection.name].get(key)
        if kept is not None and kept.until is not None and kept.until <= self._clock.monotonic():
            del self._collections[collection.name][key]
            return None
        return kept

    def _record(self, key: str, kept: _Kept) -> Record:
        left = None if kept.until is None else kept.until - self._clock.monotonic()
        return Record(key=key, value=kept.value, version=kept.version, seconds=left)

    def _taken(self, name: str, now: float) -> dict[str, float]:
        taken = self._slots.setdefault(name, {})
        for holder in [holder for holder, until in taken.items() if until <= now]:
            del taken[holder]
        return taken

    def _level(self, bucket: Bucket, now: float) -> float:
        level, since = self._buckets.get(bucket.name, (bucket.capacity, now))
        return min(bucket.capacity, level + (now - since) * bucket.per_second)
