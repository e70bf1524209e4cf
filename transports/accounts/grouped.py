"""Writes of conversations that share one call of the store: a group commit.

With other processes at the store, a change must be in the store before its caller goes on. `GroupedWrites` takes the
changes that come while the previous call is under way, or within `_GATHER_SECONDS` after it, and makes them in one
call. A change that comes alone is written at once.

A caller that is cancelled before its change is written withdraws it. Once the call is under way, the change is made.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import islice

import anyio

from transports.store import Change, Records, StoreDown
from transports.store.port import Collection
from transports.tasks import background_tasks_with_final

_GATHER_SECONDS = 0.002
_LAST_SECONDS = 2.0
_MOST_AT_ONCE = 200


class GroupedWrites:
    """Puts and removals as a store's, made together while it is open."""

    def __init__(self, records: Records) -> None:
        """Write to `store`."""
        self._records = records
        self._waiting: dict[asyncio.Future[int | None], Change] = {}
        """Changes that are not written yet, by what their callers wait for."""
        self._news = anyio.Event()

    async def put(
        self,
        place: Collection,
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
        return await self._write(Change(collection=place, key=key, value=value, expected=expected, seconds=seconds))

    async def remove(self, place: Collection, key: str, *, expected: int | None = None) -> bool:
        """Forget a record; return whether it was there, in the expected version.

        Raises:
            StoreDown: the store is out of order. Whether the record was removed is not known.

        """
        return await self._write(Change(collection=place, key=key, value=None, expected=expected)) is not None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Write for as long as the context lasts, and what still waits at its end."""
        async with background_tasks_with_final((self._run,), self._write_all, _LAST_SECONDS):
            yield

    async def _write(self, change: Change) -> int | None:
        written: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._waiting[written] = change
        self._news.set()
        try:
            return await written
        finally:
            self._waiting.pop(written, None)
            del written  # its error would refer to itself, by way of this frame

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
            batch = dict(islice(self._waiting.items(), _MOST_AT_ONCE))
            for written in batch:
                del self._waiting[written]
            try:
                await self._write_batch(batch)
            finally:  # at the end of the context: what the call may not have done is written again then
                left = {written: change for written, change in batch.items() if not written.done()}
                self._waiting = left | self._waiting

    async def _write_batch(self, batch: dict[asyncio.Future[int | None], Change]) -> None:
        try:
            versions = await self._records.write(list(batch.values()))
        except OSError as error:
            for written in batch:
                if not written.done():
                    written.set_exception(StoreDown(str(error)))  # each its own, with no other caller's frames
            return
        for written, version in zip(batch, versions, strict=True):
            if not written.done():
                written.set_result(version)
