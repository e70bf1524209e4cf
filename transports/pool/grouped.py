"""Writes of conversations that share one call of the store: a group commit.

With other processes at the store, a change must be in the store before its caller goes on. `GroupedWrites` takes the
changes that come while the previous call is under way, or within `_GATHER_SECONDS` after it, and makes them in one
call. A change that comes alone is written at once.

A caller that is cancelled before its change is written withdraws it. Once the call is under way, the change is made.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from transports.store import Change, Store, StoreDown
from transports.store.port import Place
from transports.tasks import beside_and_last

_GATHER_SECONDS = 0.002
_LAST_SECONDS = 2.0
_MOST_AT_ONCE = 200


class _Write:
    """A change whose caller waits until it is made."""

    __slots__ = ("change", "error", "finished", "version")

    def __init__(self, change: Change) -> None:
        self.change = change
        self.version: int | None = None
        self.error: StoreDown | None = None
        self.finished = anyio.Event()


class GroupedWrites:
    """Puts and removals as a store's, made together while it is open."""

    def __init__(self, store: Store) -> None:
        """Write to `store`."""
        self._store = store
        self._waiting: list[_Write] = []
        self._news = anyio.Event()

    async def put(
        self,
        place: Place,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        seconds: float | None = None,
    ) -> int | None:
        """Keep a value; return its version, None where another than the expected one is kept.

        Raises:
            StoreDown: the store is out of order. Whether the value was kept is not known.

        """
        return await self._write(Change(place=place, key=key, value=value, expected=expected, seconds=seconds))

    async def remove(self, place: Place, key: str, *, expected: int | None = None) -> bool:
        """Forget a record; return whether it was there, in the expected version.

        Raises:
            StoreDown: the store is out of order. Whether the record was removed is not known.

        """
        return await self._write(Change(place=place, key=key, value=None, expected=expected)) is not None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Write for as long as the context lasts, and what still waits at its end."""
        async with beside_and_last((self._run,), self._write_all, _LAST_SECONDS):
            yield

    async def _write(self, change: Change) -> int | None:
        write = _Write(change)
        self._waiting.append(write)
        self._news.set()
        try:
            await write.finished.wait()
        finally:
            if not write.finished.is_set() and write in self._waiting:
                self._waiting.remove(write)
        if write.error is not None:
            raise write.error
        return write.version

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            await self._write_all()
            ended = anyio.current_time()
            await self._news.wait()
            left = ended + _GATHER_SECONDS - anyio.current_time()
            if left > 0:
                await anyio.sleep(left)

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            try:
                await self._write_batch(batch)
            except anyio.get_cancelled_exc_class():  # at the end of the context: they are written again then
                self._waiting = batch + self._waiting
                raise
            for write in batch:
                write.finished.set()

    async def _write_batch(self, batch: list[_Write]) -> None:
        try:
            versions = await self._store.write([write.change for write in batch])
        except OSError as error:
            for write in batch:  # each with an error of its own, that holds no other caller's frames
                write.error = StoreDown(str(error))
            return
        for write, version in zip(batch, versions, strict=True):
            write.version = version
