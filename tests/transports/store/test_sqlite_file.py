"""A file that is deleted, replaced or damaged under an open store: nothing that the store held is lost."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.clock import ManualClock
from transports.store import Cipher, SqliteStore, StoreDown
from transports.store.port import ACCOUNTS, JOBS, LICENSES, SESSIONS


class Observer:
    def __init__(self):
        self.problems, self.restored = [], 0

    def store_file(self, problem):
        self.problems.append(problem)

    def store_restored(self):
        self.restored += 1


class Stores:
    """Opens stores at one path, as the processes of a gateway and its commands do."""

    def __init__(self, path):
        self.path, self.clock, self.observer, self.opened = path, ManualClock(), Observer(), []

    def open(self, cipher=None):
        self.opened.append(SqliteStore(self.path, self.clock, cipher, self.observer))
        return self.opened[-1]

    def command(self, cipher=None):
        """Return a store that a command opens; it closes it at once."""
        return closing(SqliteStore(self.path, self.clock, cipher))

    async def tick(self):
        """Let a second pass: each process polls for changes."""
        self.clock.advance(1.0)
        for store in self.opened:
            await store.revisions()

    async def seen(self, collection=LICENSES):
        """Return the keys that commands see; every process must see the same."""
        with self.command() as command:
            keys = await command.keys(collection)
        for store in self.opened:
            assert await store.keys(collection) == keys
        return keys


@pytest.fixture
def stores(tmp_path):
    found = Stores(tmp_path / "folder" / "gateway.sqlite3")
    yield found
    for store in found.opened:
        store.close()


async def fill(store):
    await store.put(ACCOUNTS, "one", b"cookies")
    await store.put(SESSIONS, "one", b"session")
    await store.put(LICENSES, "one", b"license")
    await store.put(JOBS, "one", b"job")
    await store.revisions()


def journal(path, suffix):
    return path.with_name(path.name + suffix)


def delete(stores):
    stores.path.unlink()


def delete_all(stores):
    for suffix in ("", "-wal", "-shm"):
        journal(stores.path, suffix).unlink()


def delete_folder(stores):
    shutil.rmtree(stores.path.parent)


def move(stores):
    stores.path.rename(stores.path.with_name("elsewhere"))


def move_folder(stores):
    stores.path.parent.rename(stores.path.parent.with_name("elsewhere"))


def delete_journal(stores):
    journal(stores.path, "-wal").unlink()


def delete_index(stores):
    journal(stores.path, "-shm").unlink()


def delete_journals(stores):
    delete_journal(stores)
    delete_index(stores)


def replace_by_an_empty_file(stores):
    delete(stores)
    stores.path.touch()


def add_license(stores):
    """Add a license as a command does: in a process of its own, which shares no memory of the journal with this one."""
    command = """
import anyio, pathlib, sys
from transports.clock import SystemClock
from transports.store import SqliteStore
from transports.store.port import LICENSES
anyio.run(SqliteStore(pathlib.Path(sys.argv[1]), SystemClock()).put, LICENSES, "new", b"license")
"""
    done = subprocess.run([sys.executable, "-c", command, str(stores.path)], check=False, stderr=subprocess.DEVNULL)
    return done.returncode == 0


LOSSES = [
    delete,
    delete_all,
    delete_folder,
    move,
    move_folder,
    delete_journal,
    delete_index,
    delete_journals,
    replace_by_an_empty_file,
]


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_the_records_come_back_within_a_second(stores, lose, processes):
    store, *_ = [stores.open() for _ in range(processes)]
    await fill(store)
    lose(stores)
    await stores.tick()
    for collection in (ACCOUNTS, SESSIONS, LICENSES, JOBS):
        assert await stores.seen(collection) == ["one"]
    for number, each in enumerate(stores.opened):
        assert await each.put(SESSIONS, "one", f"{number}".encode()) is not None
        assert await each.put(LICENSES, f"{number}", b"license") is not None
    assert await stores.seen() == sorted([*map(str, range(processes)), "one"])
    assert stores.observer.problems == []
    assert stores.observer.restored == processes


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_a_write_notices_it_before_the_next_tick(stores, lose):
    store = stores.open()
    await fill(store)
    lose(stores)
    await store.put(LICENSES, "two", b"license")
    assert await stores.seen() == ["one", "two"]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_a_command_that_comes_first_is_kept(stores, lose):
    store = stores.open()
    await fill(store)
    lose(stores)
    added = add_license(stores)
    await stores.tick()
    assert added is (lose is not delete_journal), "its index is still that of the deleted journal"
    assert added or add_license(stores)
    assert await stores.seen() == ["new", "one"]
    await store.remove(LICENSES, "new")
    assert await stores.seen() == ["one"]


def _backup(stores):
    copy = stores.path.with_name("copy")
    with closing(sqlite3.connect(stores.path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


async def test_an_older_backup_brings_nothing_older_back(stores):
    store = stores.open()
    await fill(store)
    await store.put(LICENSES, "removed", b"license")
    backup = _backup(stores)
    await stores.tick()
    await store.put(SESSIONS, "one", b"newer")
    await store.remove(LICENSES, "removed")
    await store.put(LICENSES, "two", b"license")
    delete_all(stores)
    backup.rename(stores.path)
    await stores.tick()
    assert await stores.seen() == ["one", "two"]
    assert (await store.get(SESSIONS, "one")).value == b"newer"


async def test_a_later_state_of_the_same_file_wins(stores):
    store = stores.open()
    await fill(store)
    later = _backup(stores)
    with closing(sqlite3.connect(later, isolation_level=None)) as database:
        database.execute(
            "UPDATE record SET value = CAST('later' AS BLOB), version = version + 9 WHERE collection = 'session'"
        )
        database.execute("UPDATE revision SET number = number + 9")
    delete_all(stores)
    later.rename(stores.path)
    await stores.tick()
    assert await stores.seen() == ["one"]
    assert bytes((await store.get(SESSIONS, "one")).value) == b"later"


def garbage(stores):
    delete_all(stores)
    stores.path.write_bytes(b"no database " * 100)


def folder(stores):
    delete_all(stores)
    stores.path.mkdir()


def foreign(stores):
    delete_all(stores)
    with closing(sqlite3.connect(stores.path)) as database:
        database.execute("CREATE TABLE notes (text TEXT)")


def truncated(stores):
    delete_all(stores)
    with closing(sqlite3.connect(stores.path)) as database:
        database.execute("CREATE TABLE record (text TEXT)")
    stores.path.write_bytes(stores.path.read_bytes()[:-512])


def blocked_folder(stores):
    delete_folder(stores)
    stores.path.parent.write_text("a file where the folder was")


def mend(stores):
    if stores.path.is_dir():
        stores.path.rmdir()
    elif stores.path.parent.is_dir():
        stores.path.unlink()
    else:
        stores.path.parent.unlink()


@pytest.mark.parametrize(
    "spoil", [garbage, folder, foreign, truncated, blocked_folder], ids=lambda spoil: spoil.__name__
)
async def test_a_foreign_file_is_named_and_left_alone_until_it_is_gone(stores, spoil):
    store, other = stores.open(), stores.open()
    await fill(store)
    spoil(stores)
    before = stores.path.read_bytes() if stores.path.is_file() else None
    await stores.tick()
    problem = stores.observer.problems[-1]
    assert str(stores.path) in problem
    assert await store.put(LICENSES, "two", b"license") is not None
    assert await other.keys(LICENSES) == ["one", "two"]
    await stores.tick()
    assert stores.observer.problems == [problem] * 2
    assert before is None or stores.path.read_bytes() == before
    mend(stores)
    for _ in range(3):
        await stores.tick()
    assert stores.observer.problems[2:] == ["", ""]
    assert await stores.seen() == ["one", "two"]
    assert await stores.seen(JOBS) == ["one"]


@pytest.mark.parametrize("content", [b"", b"no database " * 1000], ids=["emptied", "overwritten"])
async def test_a_file_that_is_damaged_in_place_is_set_aside(stores, content):
    store = stores.open()
    await fill(store)
    await stores.tick()
    with stores.path.open("r+b") as file:
        file.truncate()
        file.write(content)
    await stores.tick()
    for collection in (ACCOUNTS, SESSIONS, LICENSES):
        assert await stores.seen(collection) == ["one"]
    assert [path.name for path in stores.path.parent.glob("*.damaged-*")][:1]
    assert await store.put(SESSIONS, "one", b"newer") is not None


async def test_a_file_of_another_key_is_named_and_left_alone(stores, tmp_path):
    mine, theirs = Cipher(b"m" * 32), Cipher(b"t" * 32)
    store = stores.open(mine)
    await fill(store)
    delete_all(stores)
    with stores.command(theirs) as command:
        await command.put(SESSIONS, "one", b"of another key")
    await stores.tick()
    assert "1 record is sealed with another key" in stores.observer.problems[-1]
    assert (await store.get(SESSIONS, "one")).value == b"session"
    with stores.command(theirs) as command:
        assert (await command.get(SESSIONS, "one")).value == b"of another key"
        with pytest.raises(OSError, match="sealed with another key") as caught:
            stores.open(mine)
        assert not isinstance(caught.value, StoreDown)


async def test_a_full_disk_is_named_until_a_write_is_done(stores):
    store = stores.open()
    await fill(store)
    database = store._file.patient
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreDown, match="full"):
        await store.put(SESSIONS, "two", bytes(100_000))
    assert "full" in stores.observer.problems[-1]
    database.execute("PRAGMA max_page_count=1000000")
    await store.put(SESSIONS, "two", bytes(100_000))
    assert stores.observer.problems[-1] == ""
