"""A shared store that this machine keeps a copy of: what was lost there is put back before anybody misses it.

Every look for changes sees to it that the store is whole, and so does every reading of what is copied, after the fact:
what was read of a store that was emptied meanwhile is read again once it is whole. While it cannot be made so, it is
out of order for whoever reads, and nobody takes what was lost for what was removed.

Source: reliability 6.1
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from transports.clock import Clock
from transports.store.delegating import DelegatingStore
from transports.store.local_replica import REPLICATED, LocalReplica
from transports.store.port import Collection, Record, Store, StoreDown

_TRIES = 4
FoundT = TypeVar("FoundT")


class ReplicatedStore(DelegatingStore):
    """A store over another one, with a local replica that restores lost records."""

    def __init__(self, store: Store, copy: Store, clock: Clock) -> None:
        """Keep everything in `store`; `copy` is this machine's own."""
        super().__init__(store)
        self._copied = LocalReplica(store, copy, clock)
        self._turn = anyio.Lock()

    async def get(self, collection: Collection, key: str) -> Record | None:
        """Return what is kept, None where nothing is and nothing was lost."""
        found = await self._store.get(collection, key)
        if found is not None or collection not in REPLICATED:
            return found
        return await self._surely(lambda: self._store.get(collection, key))

    async def scan(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Record]:
        """Return the records whose keys begin with `prefix`, those that were lost included."""

        async def look() -> list[Record]:
            return await self._store.scan(collection, prefix, after=after, limit=limit, reverse=reverse)

        return await (self._surely(look) if collection in REPLICATED else look())

    async def keys(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[str]:
        """Return the keys of what `scan` would, and of what does not open."""

        async def look() -> list[str]:
            return await self._store.keys(collection, prefix, after=after, limit=limit, reverse=reverse)

        return await (self._surely(look) if collection in REPLICATED else look())

    async def revisions(self) -> dict[str, int]:
        """Return the revision of each collection, after restoring the store and updating the replica if needed.

        Raises:
            StoreDown: it is out of order, or was emptied and cannot be made whole.

        """
        found = await self._store.revisions()
        if self._copied.is_up_to_date(found):
            return found
        async with self._turn:
            before = await self._store.revisions()
            await self._copied.restore()
            found = await self._store.revisions()
            await self._copied.follow(found, before)
        return found

    async def _surely(self, look: Callable[[], Awaitable[FoundT]]) -> FoundT:
        """Return what a look finds in a store that is whole until it has been found.

        Raises:
            StoreDown: it is not.

        """
        for _ in range(_TRIES):
            found = await look()
            if await self._copied.same():
                return found
            async with self._turn:
                await self._copied.restore()
        raise StoreDown("the store is emptied all the time")
