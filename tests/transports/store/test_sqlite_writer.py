"""Writes of one process never compete with one another."""

import sqlite3
import threading
from contextlib import closing
from functools import cached_property

import anyio
import anyio.lowlevel
import pytest

from transports.store.sqlite_writer import Writer

LOOP, THREAD = "loop", "thread"


class File:
    """A database file, and what its writer does with it: one entry of `done` a transaction."""

    def __init__(self, path):
        self.path, self.done, self.connections, self.open = path, [], 0, 0
        self.quick = self.connect(0.0)
        self.quick.execute("PRAGMA journal_mode=WAL")
        self.quick.execute("CREATE TABLE number (value INTEGER UNIQUE)")
        self.writer = Writer(self)

    @cached_property
    def patient(self):
        return self.connect(5.0)

    def check(self):
        """Find the file in its place."""

    def settle(self):
        """Have nothing to settle."""

    def note_failure(self, _):
        return False

    def close(self):
        self.quick.close()
        if "patient" in vars(self):
            self.patient.close()

    def connect(self, timeout):
        self.connections += 1
        database = sqlite3.connect(self.path, timeout=timeout, isolation_level=None, check_same_thread=False)
        database.set_trace_callback(self.trace)
        return database

    def trace(self, statement):
        if statement == "BEGIN IMMEDIATE":
            self.done.append([LOOP if threading.current_thread() is threading.main_thread() else THREAD, 0])

    async def insert(self, value, *, durable=False):
        def query(database):
            self.open += 1
            assert self.open == 1, "two writes at once"
            try:
                row = database.execute("INSERT INTO number VALUES (?)", (value,)).lastrowid
                self.done[-1][1] += 1
                return row
            finally:
                self.open -= 1

        return await self.writer.write(query, durable=durable)

    def values(self):
        return [row[0] for row in self.quick.execute("SELECT value FROM number ORDER BY value")]


@pytest.fixture
def file(tmp_path):
    opened = File(tmp_path / "file.sqlite3")
    yield opened
    opened.close()


async def together(*works):
    async with anyio.create_task_group() as tasks:
        for work in works:
            tasks.start_soon(work)


async def test_a_write_that_need_not_be_durable_runs_on_the_event_loop(file):
    assert [await file.insert(value) for value in (1, 2)] == [1, 2]
    assert file.done == [[LOOP, 1], [LOOP, 1]]
    assert file.connections == 1


async def test_writes_during_another_share_one_transaction(file):
    async def insert(value):
        await file.insert(value, durable=value % 2 == 0)

    await together(*(lambda value=value: insert(value) for value in range(100)))
    assert file.values() == list(range(100))
    assert file.done == [[THREAD, 1], [THREAD, 99]]
    assert file.connections == 2
    await file.insert(100)
    assert file.done[-1] == [LOOP, 1]


async def test_a_failed_write_undoes_only_itself(file):
    errors = []

    async def insert(value):
        try:
            await file.insert(value, durable=True)
        except sqlite3.IntegrityError:
            errors.append(value)

    await together(*(lambda value=value: insert(value) for value in (1, 2, 3, 2, 4)))
    assert (file.values(), errors) == ([1, 2, 3, 4], [2])


async def test_writes_in_quick_succession_share_one_transaction_on_the_event_loop(file):
    await together(*(lambda value=value: file.insert(value) for value in range(50)))
    assert file.values() == list(range(50))
    assert file.done == [[LOOP, 1], [LOOP, 49]]


async def test_a_failed_write_in_a_shared_transaction_undoes_only_itself(file):
    errors = []

    async def insert(value):
        try:
            await file.insert(value)
        except sqlite3.IntegrityError:
            errors.append(value)

    await together(*(lambda value=value: insert(value) for value in (1, 2, 3, 2, 4)))
    assert (file.values(), errors) == ([1, 2, 3, 4], [2])
    assert file.done == [[LOOP, 1], [LOOP, 3]]


@pytest.fixture
def locked(file):
    """Return a connection that holds the lock, as another process would."""
    with closing(sqlite3.connect(file.path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


async def test_a_briefly_locked_file_needs_no_thread(file, locked):
    async def release():
        await anyio.wait_all_tasks_blocked()
        locked.execute("COMMIT")

    await together(release, *(lambda value=value: file.insert(value) for value in range(16)))
    assert file.values() == list(range(16))
    assert [done for done in file.done if done[1]] == [[LOOP, 16]]
    assert file.connections == 1


async def test_a_repeatedly_locked_file_needs_no_thread(file, locked):
    async def release():
        while len(file.done) < 4:  # the event loop has found the file locked four times
            await anyio.lowlevel.checkpoint()
        locked.execute("COMMIT")

    await together(release, *(lambda value=value: file.insert(value) for value in range(16)))
    assert file.values() == list(range(16))
    assert {where for where, _ in file.done} == {LOOP}
    assert file.connections == 1


async def test_a_write_cancelled_while_the_file_is_locked_is_withdrawn(file, locked):
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as leading:
                leading.start_soon(file.insert, 1)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(file.insert, 2)
                while len(file.done) < 3:
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
        locked.execute("COMMIT")
    assert file.values() == [2]


async def test_a_file_locked_for_long_is_waited_for_in_one_thread(file, locked):
    async def release():
        while file.done[-1:] != [[THREAD, 0]]:
            await anyio.lowlevel.checkpoint()
        locked.execute("COMMIT")

    await together(release, *(lambda value=value: file.insert(value) for value in range(16)))
    assert file.values() == list(range(16))
    assert [done for done in file.done if done[1]] == [[THREAD, 16]]
    assert file.connections == 2


async def test_a_cancelled_waiting_write_is_withdrawn(file):
    started = threading.Event()

    def held(database):
        started.wait(60)
        database.execute("INSERT INTO number VALUES (1)")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: file.writer.write(held, durable=True))
        await anyio.wait_all_tasks_blocked()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(file.insert, 2)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        tasks.start_soon(file.insert, 3)
        await anyio.wait_all_tasks_blocked()
        started.set()
    assert file.values() == [1, 3]


async def test_a_cancelled_leader_finishes_its_batch_and_passes_the_lead_on(file):
    started = threading.Event()

    def held(database):
        started.wait(60)
        database.execute("INSERT INTO number VALUES (1)")

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as leading:
                leading.start_soon(lambda: file.writer.write(held, durable=True))
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(file.insert, 2)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
                started.set()
    assert file.values() == [1, 2]


async def test_the_thread_checkpoints_the_journal_periodically(file):
    for value in range(502):
        await file.insert(value)
    assert [where for where, _ in file.done].count(THREAD) == 2
