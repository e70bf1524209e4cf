"""Behaviour of the SQLite store only: its file, other processes, and the machine's clock."""

import resource
import stat
import subprocess
import sys
from contextlib import closing

import anyio
import pytest

from tests.clock import ManualClock
from tests.conftest import ROOT
from transports.clock import SystemClock
from transports.store import FULL, SqliteStore, StoreDown
from transports.store.port import COOLDOWNS, FILE_PIECES, SESSIONS

HOUR = 3600.0
HOLDS = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
database.execute("INSERT INTO revision VALUES ('another', 1)")
print("holding", flush=True)
sys.stdin.readline()
database.execute("COMMIT")
"""

COUNTS = """
import sys
from pathlib import Path
import anyio
from transports.clock import SystemClock
from transports.store import SqliteStore
from transports.store.port import COOLDOWNS, SESSIONS

async def count():
    store = SqliteStore(Path(sys.argv[1]), SystemClock())
    for collection in [SESSIONS, COOLDOWNS] * 25:
        while True:
            record = await store.get(collection, "count")
            value = b"%d" % (int(record.value) + 1)
            if await store.put(collection, "count", value, expected=record.version) is not None:
                break
    slots = [await store.take_slot("room", f"{sys.argv[2]}-{n}", slots=7, seconds=600.0) for n in range(5)]
    print(slots.count(0.0), await store.acquire("lock", sys.argv[2], 600.0) is not None)
    store.close()

anyio.run(count)
"""


class SetClock(ManualClock):
    """A machine whose clock can be set."""

    set_by = 0.0

    def wall(self):
        return super().wall() + self.set_by


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "store.sqlite3"


@pytest.fixture
def opened(path):
    """Open stores at the path; all are closed."""
    stores = []

    def open_one(clock=None):
        stores.append(SqliteStore(path, clock or SystemClock()))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def contended(path, opened):
    """A store, and another process that holds the file's one writing lock until it is stopped."""
    store = opened()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "holding\n"
    yield store, process
    process.communicate("")


async def test_only_the_owner_may_read_the_files(path, opened):
    await opened().put(SESSIONS, "a", b"secret")
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["store.sqlite3", "store.sqlite3-shm", "store.sqlite3-wal"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_records_survive_reopening(path, opened):
    version = await opened().put(SESSIONS, "a", b"1")
    assert (await opened().get(SESSIONS, "a")).version == version


async def test_a_write_waits_for_another_process_and_a_read_does_not(contended):
    (store, process), done = contended, []

    async def write():
        done.append(await store.put(COOLDOWNS, "a", b"1"))
        done.append(await store.put(SESSIONS, "a", b"1"))

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        await anyio.wait_all_tasks_blocked()
        assert (await store.get(SESSIONS, "a"), done) == (None, [])
        process.communicate("\n")
    assert done == [1, 1]


@pytest.mark.parametrize("collection", [SESSIONS, COOLDOWNS], ids=lambda collection: collection.name)
async def test_a_file_locked_for_too_long_is_an_error(contended, collection):
    contended[0]._file.patient.execute("PRAGMA busy_timeout=10")
    with pytest.raises(StoreDown, match=r"store\.sqlite3 is locked by another process"):
        await contended[0].put(collection, "a", b"1")
    assert await contended[0].keys(collection) == []


@pytest.mark.parametrize("collection", [SESSIONS, COOLDOWNS], ids=lambda collection: collection.name)
async def test_a_full_disk_is_an_error_and_keeps_the_records(opened, collection):
    store, (soft, hard) = opened(), resource.getrlimit(resource.RLIMIT_FSIZE)
    await store.put(collection, "a", b"1")
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, hard))
    try:
        with pytest.raises(StoreDown, match=r"failed: (disk I/O error|database or disk is full)"):
            await store.put(collection, "a", bytes(1024 * 1024))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (await store.get(collection, "a")).value == b"1"
    assert await store.put(collection, "a", bytes(1024 * 1024)) == 2


async def test_a_read_only_file_is_an_error(opened):
    store = opened()
    store._file.quick.execute("PRAGMA query_only=1")
    with pytest.raises(StoreDown, match="readonly database"):
        await store.put(COOLDOWNS, "a", b"1")
    assert await store.get(COOLDOWNS, "a") is None


async def test_a_truncated_file_is_refused(path, opened):
    store = opened()
    for number in range(20):
        await store.put(SESSIONS, f"{number}", bytes(1000))
    store.close()
    whole = path.read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["store.sqlite3"]
    for size in (1, 15, 16, 17, 99, 100, 101, *range(512, len(whole), 509), len(whole) - 4096, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreDown, match=r"store\.sqlite3 (is truncated|failed: )"):
            opened()
        assert path.read_bytes() == whole[:size]
    path.write_bytes(whole)
    assert len(await opened().keys(SESSIONS)) == 20


@pytest.mark.parametrize("step", [1, 7])
async def test_a_damaged_file_is_an_error(path, opened, step):
    store = opened()
    for number in range(20):
        await store.put(SESSIONS, f"{number}", bytes(1000))
    store.close()
    whole, reported = path.read_bytes(), 0
    for at in range(0, len(whole), 4096):
        path.write_bytes(whole[:at] + b"\xa5" * (600 * step) + whole[at + 600 * step :])
        try:
            await opened().scan(SESSIONS)
        except OSError as error:
            reported += "failed" in str(error)
    assert reported


@pytest.mark.parametrize("text", [b"not a database", b"not a database, but long enough to be one" * 40])
def test_a_file_of_another_kind_is_refused(path, opened, text):
    path.parent.mkdir()
    path.write_bytes(text)
    with pytest.raises(OSError, match="is not a database of this gateway") as caught:
        opened()
    assert not isinstance(caught.value, StoreDown)  # it does not pass


async def test_setting_the_clock_back_extends_nothing(opened):
    clock = SetClock()
    store = opened(clock)
    await store.acquire("lock", "one", 45.0)
    await store.take_slot("room", "one", slots=1, seconds=60.0)
    await store.put(SESSIONS, "a", b"1", seconds=30.0)
    clock.set_by -= HOUR
    await store.put(COOLDOWNS, "any", b"")
    assert (await store.get(SESSIONS, "a")).seconds == pytest.approx(30.0)
    assert await store.acquire("lock", "two", 45.0) is None
    assert await store.take_slot("room", "two", slots=1, seconds=60.0) == FULL
    clock.advance(60.0)
    assert await store.acquire("lock", "two", 45.0)
    assert await store.take_slot("room", "two", slots=1, seconds=60.0) == 0.0
    assert await store.get(SESSIONS, "a") is None


async def test_setting_the_clock_back_while_closed_extends_nothing(path, opened):
    first = opened(SetClock())
    await first.put(SESSIONS, "a", b"1", seconds=30.0)
    await first.acquire("lock", "one", 45.0)
    first.close()
    clock = SetClock(now=1.0)
    clock.set_by = -HOUR
    store = opened(clock)
    clock.advance(45.0)
    assert await store.get(SESSIONS, "a") is None
    assert await store.acquire("lock", "two", 45.0)


async def test_setting_the_clock_forward_ends_no_lock_or_slot(opened):
    clock = SetClock()
    store, other = opened(clock), opened(clock)
    await store.acquire("lock", "one", 45.0)
    await store.take_slot("room", "one", slots=1, seconds=60.0)
    clock.set_by += HOUR
    assert await other.acquire("lock", "two", 45.0) is None
    assert await other.take_slot("room", "two", slots=1, seconds=60.0) == FULL
    clock.advance(60.0)
    assert await other.acquire("lock", "two", 45.0)
    assert await other.take_slot("room", "two", slots=1, seconds=60.0) == 0.0


async def test_versions_and_tokens_grow_while_the_clock_goes_back(opened):
    clock, versions, fences = SetClock(), [], []
    store = opened(clock)
    for _ in range(3):
        versions.append(await store.put(SESSIONS, "a", b"1"))
        fences.append(await store.acquire("lock", "one", 45.0))
        await store.remove(SESSIONS, "a")
        await store.release("lock", "one")
        clock.set_by -= HOUR
    assert versions == sorted(set(versions))
    assert fences == sorted(set(fences))


async def test_expired_locks_are_deleted(opened):
    clock = ManualClock()
    store = opened(clock)
    for number in range(50):
        await store.acquire(f"job-{number}", "one", 45.0)
    clock.advance(45.0)
    await store.acquire("job", "one", 45.0)
    assert store._file.quick.execute("SELECT COUNT(*) FROM lock").fetchone() == (1,)


async def test_of_long_records_that_have_expired_few_are_deleted_at_once(opened):
    """SQLite overwrites every page that it frees, on the event loop."""
    clock = ManualClock()
    store = opened(clock)
    for number in range(12):
        await store.put(FILE_PIECES, f"{number}", bytes(256 * 1024), seconds=10.0)
    for number in range(100):
        await store.put(COOLDOWNS, f"{number}", b"x", seconds=20.0)
    left = []
    clock.advance(20.0)
    for _ in range(3):
        await store.put(SESSIONS, "a", b"secret")
        left.append(store._file.quick.execute("SELECT COUNT(*) FROM record").fetchone()[0] - 1)
        clock.advance(1.0)
    assert left == [107, 102, 0]


async def test_several_processes_keep_all_guarantees(path, opened):
    store = opened()
    for collection in (SESSIONS, COOLDOWNS):
        await store.put(collection, "count", b"0")
    processes = [
        subprocess.Popen([sys.executable, "-c", COUNTS, str(path), name], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for name in ("one", "two", "three")
    ]
    reported = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [(await store.get(collection, "count")).value for collection in (SESSIONS, COOLDOWNS)] == [b"75", b"75"]
    assert sum(int(slots) for slots, _ in reported) == await store.count_slots("room") == 7
    assert sorted(held for _, held in reported) == ["False", "False", "True"]


async def test_a_thread_checkpoints_the_journal(tmp_path):
    with closing(SqliteStore(tmp_path / "state.db", ManualClock())) as store:
        for number in range(2000):
            await store.put(COOLDOWNS, f"{number}", b"x" * 3000)
        assert (tmp_path / "state.db-wal").stat().st_size < 3 * 1000 * 4096
        assert store._file.quick.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
