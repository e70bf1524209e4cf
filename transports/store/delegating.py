"""A store over another one: what a kind of it does not do otherwise, the other does."""

from collections.abc import Sequence

from transports.store.port import Bucket, Change, Collection, Record, Store


class DelegatingStore:
    """Hands every call on; who inherits overrides what it changes. What the methods promise: see the port."""

    def __init__(self, store: Store) -> None:
        """Keep everything in `store`."""
        self._store = store

    async def get(self, place: Collection, key: str) -> Record | None:
        """Return what is kept."""
        return await self._store.get(place, key)

    async def put(
        self,
        place: Collection,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        seconds: float | None = None,
    ) -> int | None:
        """Keep a value; return its version, None where another than the expected one is kept."""
        return await self._store.put(place, key, value, expected=expected, seconds=seconds)

    async def remove(self, place: Collection, key: str, *, expected: int | None = None) -> bool:
        """Forget a record; say whether it was there."""
        return await self._store.remove(place, key, expected=expected)

    async def write(self, changes: Sequence[Change]) -> list[int | None]:
        """Make several changes."""
        return await self._store.write(changes)

    async def scan(
        self,
        place: Collection,
        prefix: str = "",
        *,
        after: str = "",
        most: int | None = None,
        reverse: bool = False,
    ) -> list[Record]:
        """Return the records whose keys begin with `prefix`."""
        return await self._store.scan(place, prefix, after=after, most=most, reverse=reverse)

    async def keys(
        self,
        place: Collection,
        prefix: str = "",
        *,
        after: str = "",
        most: int | None = None,
        reverse: bool = False,
    ) -> list[str]:
        """Return the keys that begin with `prefix`."""
        return await self._store.keys(place, prefix, after=after, most=most, reverse=reverse)

    async def revisions(self) -> dict[str, int]:
        """Return a number by place that changes with what is in it."""
        return await self._store.revisions()

    async def acquire(self, name: str, owner: str, seconds: float, epoch: str | None = None) -> int | None:
        """Hold the lease of this name, unless another owner does; return its fence."""
        return await self._store.acquire(name, owner, seconds, epoch)

    async def renew(self, name: str, owner: str, seconds: float) -> bool:
        """Hold the lease for so long from now; False: it is not the owner's any more."""
        return await self._store.renew(name, owner, seconds)

    async def release(self, name: str, owner: str) -> None:
        """Let go of a lease, if it is the owner's."""
        await self._store.release(name, owner)

    async def enter(
        self,
        name: str,
        holder: str,
        *,
        seats: int,
        seconds: float,
        buckets: Sequence[Bucket] = (),
    ) -> float:
        """Take a seat and a token from each bucket, or nothing."""
        return await self._store.enter(name, holder, seats=seats, seconds=seconds, buckets=buckets)

    async def stay(self, seats: Sequence[tuple[str, str]], seconds: float) -> None:
        """Keep seats for so long from now."""
        await self._store.stay(seats, seconds)

    async def leave(self, seats: Sequence[tuple[str, str]]) -> None:
        """Give seats back."""
        await self._store.leave(seats)

    async def seated(self, name: str) -> int:
        """Return how many seats of this name are taken."""
        return await self._store.seated(name)

    async def now(self) -> float:
        """Return the store's time, in epoch seconds."""
        return await self._store.now()

    async def epoch(self) -> str:
        """Return who the store's server is."""
        return await self._store.epoch()

    async def settle(self) -> bool:
        """Wait until what was written is where it survives."""
        return await self._store.settle()
