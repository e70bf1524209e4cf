"""A shared store with a local replica on this machine, from which lost records are restored before they are missed.

Every poll for changes checks that the store was not emptied, and restores it if it was. So does every read of a
replicated collection, after the read: if the store was emptied meanwhile, it is restored and read again. While it
cannot be restored, reads raise StoreDown, so a lost record is never mistaken for a removed one.

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
        """Store records in `store`, and replicate them to `copy` on this machine."""
        super().__init__(store)
        self._replica = LocalReplica(store, copy, clock)
        self._turn = anyio.Lock()

    async def get(self, collection: Collection, key: str) -> Record | None:
        """Return a record, or None if there is none and none was lost."""
        found = await self._store.get(collection, key)
        if found is not None or collection not in REPLICATED:
            return found
        return await self._read_restored(lambda: self._store.get(collection, key))

    async def scan(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Record]:
        """Return the records whose keys begin with `prefix`, including restored ones."""

        async def read() -> list[Record]:
            return await self._store.scan(collection, prefix, after=after, limit=limit, reverse=reverse)

        return await (self._read_restored(read) if collection in REPLICATED else read())

    async def keys(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[str]:
        """Return the keys of the records that `scan` would return, and of those that cannot be decrypted."""

        async def read() -> list[str]:
            return await self._store.keys(collection, prefix, after=after, limit=limit, reverse=reverse)

        return await (self._read_restored(read) if collection in REPLICATED else read())

    async def revisions(self) -> dict[str, int]:
        """Return the revision of each collection, after restoring the store and updating the replica if needed.

        Raises:
            StoreDown: the store failed, or was emptied and cannot be restored.

        """
        found = await self._store.revisions()
        if self._replica.is_up_to_date(found):
            return found
        async with self._turn:
            before = await self._store.revisions()
            await self._replica.restore()
            found = await self._store.revisions()
            await self._replica.follow(found, before)
        return found

    async def _read_restored(self, look: Callable[[], Awaitable[FoundT]]) -> FoundT:
        """Read until the store was not emptied during the read, restoring it in between.

        Raises:
            StoreDown: it keeps being emptied.

        """
        for _ in range(_TRIES):
            found = await look()
            if await self._replica.same():
                return found
            async with self._turn:
                await self._replica.restore()
        raise StoreDown("the store keeps being emptied; check the server's persistence and eviction settings")
