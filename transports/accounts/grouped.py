"""Writes that share one call of the store: a group commit.

If other processes use the store, a change must be in the store before its caller continues. `GroupedWrites` collects
the changes that arrive during the previous call, or within `_GATHER_SECONDS` after it, and writes them in one call. A
single change is written at once.

Example: A's change is written alone. During that call, B's and C's arrive; both are written in the next call, and each
caller gets the result of its own change.

A caller that is cancelled before its change is written withdraws it. Once the call has begun, the change is applied.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import islice

import anyio

from transports.store import Change, Records, StoreDown
from transports.store.records import SingleChanges
from transports.tasks import background_tasks_with_final

_GATHER_SECONDS = 0.002
_LAST_SECONDS = 2.0
_MOST_AT_ONCE = 200


class GroupedWrites(SingleChanges):
    """Puts and removes records as `Records` does, several in one call, while it is open."""

    def __init__(self, records: Records) -> None:
        """Write to `records`."""
        self._records = records
        self._waiting: dict[asyncio.Future[int | None], Change] = {}
        """Changes that are not written yet, by the futures that their callers await."""
        self._added = anyio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Write while the context lasts; at its end, write what still waits."""
        async with background_tasks_with_final(
            (self._run,), self._write_all, _LAST_SECONDS, "conversations_write_failed"
        ):
            yield

    async def _apply(self, change: Change) -> int | None:
        written: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._waiting[written] = change
        self._added.set()
        try:
            return await written
        finally:
            self._waiting.pop(written, None)
            del written  # its error would refer to itself, by way of this frame

    async def _run(self) -> None:
        while True:
            await self._added.wait()
            self._added = anyio.Event()
            await self._write_all()
            ended = anyio.current_time()
            await self._added.wait()
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
            finally:  # cancelled at the end of the context: what the call may not have written is written again
                left = {written: change for written, change in batch.items() if not written.done()}
                self._waiting = left | self._waiting

    async def _write_batch(self, batch: dict[asyncio.Future[int | None], Change]) -> None:
        try:
            versions = await self._records.write(list(batch.values()))
        except OSError as error:
            for written in batch:
                if not written.done():
                    written.set_exception(StoreDown(str(error)))  # one each, without the other callers' frames
            return
        for written, version in zip(batch, versions, strict=True):
            if not written.done():
                written.set_result(version)
