"""A store over another one: what a kind of it does not do otherwise, the other does."""

from collections.abc import Sequence

from transports.store.port import Bucket, Change, Collection, Record, Store


class DelegatingStore:
    """Hands every call on; who inherits overrides what it changes. What the methods promise: see the port."""

    def __init__(self, store: Store) -> None:
        """Keep everything in `store`."""
        self._store = store

    async def get(self, collection: Collection, key: str) -> Record | None:
        """Return what is kept."""
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
        """Keep a value; return its version, None where another than the expected one is kept."""
        return await self._store.put(collection, key, value, expected=expected, seconds=seconds)

    async def remove(self, collection: Collection, key: str, *, expected: int | None = None) -> bool:
        """Forget a record; say whether it was there."""
        return await self._store.remove(collection, key, expected=expected)

    async def write(self, changes: Sequence[Change]) -> list[int | None]:
        """Make several changes."""
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
        """Return a number by collection that changes with what is in it."""
        return await self._store.revisions()

    async def acquire(self, name: str, owner: str, seconds: float, epoch: str | None = None) -> int | None:
        """Hold the lock of this name, unless another owner does; return its fence."""
        return await self._store.acquire(name, owner, seconds, epoch)

    async def renew(self, name: str, owner: str, seconds: float) -> bool:
        """Hold the lock for so long from now; False: it is not the owner's any more."""
        return await self._store.renew(name, owner, seconds)

    async def release(self, name: str, owner: str) -> None:
        """Let go of a lock, if it is the owner's."""
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
        """Keep slots for so long from now."""
        await self._store.renew_slots(slots, seconds)

    async def release_slots(self, slots: Sequence[tuple[str, str]]) -> None:
        """Give slots back."""
        await self._store.release_slots(slots)

    async def count_slots(self, name: str) -> int:
        """Return how many slots of this name are taken."""
        return await self._store.count_slots(name)

    async def now(self) -> float:
        """Return the store's time, in epoch seconds."""
        return await self._store.now()

    async def epoch(self) -> str:
        """Return who the store's server is."""
        return await self._store.epoch()

    async def settle(self) -> bool:
        """Wait until what was written is where it survives."""
        return await self._store.settle()
