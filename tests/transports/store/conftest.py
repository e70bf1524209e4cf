"""Fixtures for tests that run with every kind of store; each kind has its own way to let time pass.

A kind is an async context manager in KINDS that is given pytest's request and yields a `Stores`.
"""

import uuid
from contextlib import asynccontextmanager

import anyio
import pytest

from tests.clock import ManualClock
from tests.servers import RecordingStoreObserver, RedisServer, programs
from transports.clock import SystemClock
from transports.store import Cipher, MemoryStore, SqliteStore
from transports.store.redis import RedisStore
from transports.store.redis_server import RedisAddress, RedisPool


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
async def encrypted(request):
    clock = ManualClock()
    store = MemoryStore(clock, Cipher(b"a secret of at least 32 bytes ...", [b"an earlier one"]))

    async def view():
        return store

    yield Stores(view, moving(clock))


def on_server(name):
    """Return the kind of a real server: its clock is its own, so that time passes as it will."""

    @asynccontextmanager
    async def kind(request):
        address, prefix, opened = RedisAddress.of(request.getfixturevalue("servers")[name].url), uuid.uuid4().hex, []

        async def view():
            opened.append(RedisPool(address, SystemClock(), RecordingStoreObserver(), seconds=10.0))
            return RedisStore(opened[-1], prefix)

        async def elapse(seconds):
            await anyio.sleep(seconds + 0.005)

        attempt = getattr(request.node, "execution_count", 1)  # of pytest-rerunfailures
        try:
            yield Stores(view, elapse, short=0.3 * 5 ** (attempt - 1))
        finally:
            for server in opened:
                await server.close()

    return kind


@pytest.fixture(scope="session")
def servers():
    """A Redis and a Valkey, for all tests that leave them as they are."""
    started = {name: RedisServer(program).start() for name, program in programs().items()}
    yield started
    for server in started.values():
        server.stop()


def moving(clock):
    async def elapse(seconds):
        clock.advance(seconds)

    return elapse


KINDS = {
    "memory": memory,
    "sqlite": sqlite,
    "encrypted": encrypted,
    "redis": on_server("redis"),
    "valkey": on_server("valkey"),
}


@pytest.fixture(params=KINDS)
async def open_store(request):
    async with KINDS[request.param](request) as stores:
        yield stores
