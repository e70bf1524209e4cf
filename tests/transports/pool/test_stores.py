"""One contract for every store."""

import stat

import anyio
import pytest

from tests.clock import ManualClock
from transports.pool import MemoryStore, SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
def clock_and_store(request, tmp_path):
    clock = ManualClock()
    if request.param == "memory":
        return clock, MemoryStore(clock)
    return clock, SqliteStore(tmp_path / "deep" / "store.sqlite3", clock)


async def test_nothing_is_stored_at_first(clock_and_store):
    _, store = clock_and_store
    assert await store.load("a") is None


async def test_a_value_is_saved_when_the_version_is_the_expected(clock_and_store):
    _, store = clock_and_store
    assert await store.save("a", b"one", expected=0) == 1
    assert await store.save("a", b"two", expected=0) is None
    assert await store.load("a") == (b"one", 1)
    assert await store.save("a", b"two", expected=1) == 2
    assert await store.load("a") == (b"two", 2)
    assert await store.load("b") is None


async def test_of_many_writers_of_one_version_one_succeeds(clock_and_store):
    _, store = clock_and_store
    results = []

    async def write(number):
        results.append(await store.save("a", b"%d" % number, expected=0))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(write, number)
    assert sorted(results, key=str) == [1] + [None] * 7


async def test_one_writer_at_a_time_until_it_releases_or_its_time_is_up(clock_and_store):
    clock, store = clock_and_store
    assert await store.acquire("a", "me", 45)
    assert await store.acquire("a", "me", 45)
    assert not await store.acquire("a", "you", 45)
    assert await store.acquire("b", "you", 45)
    await store.release("a", "you")
    assert not await store.acquire("a", "you", 45)
    await store.release("a", "me")
    assert await store.acquire("a", "you", 45)
    clock.advance(46)
    assert await store.acquire("a", "me", 45)


async def test_the_file_is_its_owners_alone_and_survives(tmp_path):
    path = tmp_path / "store.sqlite3"
    clock = ManualClock()
    await SqliteStore(path, clock).save("a", b"kept", expected=0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await SqliteStore(path, clock).load("a") == (b"kept", 1)


async def test_a_database_that_is_none_is_an_oserror(tmp_path):
    path = tmp_path / "store.sqlite3"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(OSError, match="out of order"):
        SqliteStore(path, ManualClock())
