"""A store that passes every call to another store; base class for stores that change some of the calls."""

from collections.abc import Sequence

from transports.store.port import Bucket, Change, Collection, Record, Store


class DelegatingStore:
    """Passes every call to another store; see `port.Store` for what the methods do."""

    def __init__(self, store: Store) -> None:
        """Pass calls to `store`."""
        self._store = store

    async def get(self, collection: Collection, key: str) -> Record | None:
        """Return a record."""
        return await self._store.get(collection, key)

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
        return await self._store.put(collection, key, value, expected=expected, seconds=seconds)

    async def remove(self, collection: Collection, key: str, *, expected: int | None = None) -> bool:
        """Remove a record; return whether it was removed."""
        return await self._store.remove(collection, key, expected=expected)

    async def write(self, changes: Sequence[Change]) -> list[int | None]:
        """Apply several changes."""
        return await self._store.write(changes)

    async def scan(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Record]:
        """Return the records whose keys begin with `prefix`."""
        return await self._store.scan(collection, prefix, after=after, limit=limit, reverse=reverse)

    async def keys(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[str]:
        """Return the keys that begin with `prefix`."""
        return await self._store.keys(collection, prefix, after=after, limit=limit, reverse=reverse)

    async def revisions(self) -> dict[str, int]:
        """Return the revision of each collection."""
        return await self._store.revisions()

    async def acquire(self, name: str, owner: str, seconds: float, epoch: str | None = None) -> int | None:
        """Acquire a lock unless another owner holds it; return a fencing token."""
        return await self._store.acquire(name, owner, seconds, epoch)

    async def renew(self, name: str, owner: str, seconds: float) -> bool:
        """Extend a lock; return False if the owner no longer holds it."""
        return await self._store.renew(name, owner, seconds)

    async def release(self, name: str, owner: str) -> None:
        """Release a lock if the owner holds it."""
        await self._store.release(name, owner)

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
        return await self._store.take_slot(name, holder, slots=slots, seconds=seconds, buckets=buckets)

    async def renew_slots(self, slots: Sequence[tuple[str, str]], seconds: float) -> None:
        """Extend slots to `seconds` from now."""
        await self._store.renew_slots(slots, seconds)

    async def release_slots(self, slots: Sequence[tuple[str, str]]) -> None:
        """Release slots."""
        await self._store.release_slots(slots)

    async def count_slots(self, name: str) -> int:
        """Return the number of slots taken under a name."""
        return await self._store.count_slots(name)

    async def now(self) -> float:
        """Return the store's time in epoch seconds."""
        return await self._store.now()

    async def epoch(self) -> str:
        """Return the identifier of the store's server."""
        return await self._store.epoch()

    async def settle(self) -> bool:
        """Wait until earlier writes are safe."""
        return await self._store.settle()
