"""Every kind of store, for one suite of tests, each with time that passes in its own way.

A kind is an async context manager in KINDS that is given pytest's request and yields a `Stores`.
"""

from contextlib import asynccontextmanager

import pytest

from tests.clock import ManualClock
from transports.store import MemoryStore, SealedStore, Sealer, SqliteStore


class Stores:
    """Opens views of one store, as its processes have them; `await open_store()` returns one more.

    `short` is a time that is over soon, in seconds, and `long` one that is not over before the test's end; `elapse`
    lets time pass, however this store's clock is moved.
    """

    def __init__(self, view, elapse, *, short=10.0, long=3600.0):
        self._view, self.elapse = view, elapse
        self.short, self.long = short, long

    async def __call__(self):
        return await self._view()


@asynccontextmanager
async def memory(request):
    clock = ManualClock()
    store = MemoryStore(clock)

    async def view():
        return store

    yield Stores(view, moving(clock))


@asynccontextmanager
async def sqlite(request):
    clock, path, opened = ManualClock(), request.getfixturevalue("tmp_path") / "store.sqlite3", []

    async def view():
        opened.append(SqliteStore(path, clock))
        return opened[-1]

    try:
        yield Stores(view, moving(clock))
    finally:
        for store in opened:
            store.close()


@asynccontextmanager
async def sealed(request):
    async with memory(request) as below:

        async def view():
            return SealedStore(await below(), Sealer(b"a secret of at least 32 bytes ...", [b"an earlier one"]))

        yield Stores(view, below.elapse)


def moving(clock):
    async def elapse(seconds):
        clock.advance(seconds)

    return elapse


KINDS = {"memory": memory, "sqlite": sqlite, "sealed": sealed}


@pytest.fixture(params=KINDS)
async def open_store(request):
    async with KINDS[request.param](request) as stores:
        yield stores
