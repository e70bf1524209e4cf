"""One contract for every keeper of conversations."""

import sqlite3
from contextlib import closing

import anyio
import pytest

from tests.clock import ManualClock
from transports.base import Kept
from transports.pool import MemoryConversations, SqliteConversations

ONE = Kept(account="a", conversation=b"c_1")


@pytest.fixture(params=["memory", "sqlite"])
def opened(request, tmp_path):
    clock = ManualClock()
    if request.param == "memory":
        yield clock, MemoryConversations(clock, most=3)
        return
    with closing(SqliteConversations(tmp_path / "deep" / "conversations.sqlite3", clock, most=3)) as kept:
        yield clock, kept


async def test_a_conversation_is_taken_once(opened):
    _, kept = opened
    assert await kept.whose(b"k") is None
    await kept.keep(b"k", ONE, seconds=60)
    assert await kept.whose(b"k") == "a"
    assert await kept.take(b"k", "b") is None
    assert await kept.take(b"k", "a") == ONE
    assert await kept.take(b"k", "a") is None
    assert await kept.whose(b"k") is None


async def test_when_its_time_is_over_it_is_only_overdue(opened):
    clock, kept = opened
    await kept.keep(b"k", ONE, seconds=60)
    assert await kept.overdue("a", most=5) == []
    clock.advance(61)
    assert await kept.whose(b"k") is None
    assert await kept.take(b"k", "a") is None
    assert await kept.overdue("b", most=5) == []
    assert await kept.overdue("a", most=5) == [ONE]
    assert await kept.overdue("a", most=5) == []


async def test_what_was_taken_is_never_overdue(opened):
    clock, kept = opened
    await kept.keep(b"k", ONE, seconds=60)
    await kept.take(b"k", "a")
    clock.advance(61)
    assert await kept.overdue("a", most=5) == []


async def test_of_two_conversations_of_one_key_the_older_is_overdue(opened):
    _, kept = opened
    other = Kept(account="a", conversation=b"c_2")
    await kept.keep(b"k", ONE, seconds=60)
    await kept.keep(b"k", ONE, seconds=60)
    assert await kept.overdue("a", most=5) == []
    await kept.keep(b"k", other, seconds=60)
    assert await kept.overdue("a", most=5) == [ONE]
    assert await kept.take(b"k", "a") == other


async def test_a_bounded_number_is_kept_and_what_is_too_much_is_overdue(opened):
    clock, kept = opened
    for number in range(5):
        await kept.keep(b"%d" % number, Kept(account="a", conversation=b"c_%d" % number), seconds=60)
        clock.advance(1)
    assert [await kept.whose(b"%d" % number) for number in range(5)] == [None, None, "a", "a", "a"]
    over = [found.conversation for found in await kept.overdue("a", most=1)]
    over += [found.conversation for found in await kept.overdue("a", most=9)]
    assert sorted(over) == [b"c_0", b"c_1"]


async def test_processes_share_the_file(tmp_path):
    clock, path = ManualClock(), tmp_path / "conversations.sqlite3"
    with closing(SqliteConversations(path, clock)) as one, closing(SqliteConversations(path, clock)) as other:
        await one.keep(b"k", ONE, seconds=60)
        assert await other.take(b"k", "a") == ONE
        assert await one.whose(b"k") is None


async def test_a_file_that_is_broken_is_made_anew(tmp_path):
    path = tmp_path / "conversations.sqlite3"
    path.write_bytes(b"this is no database" * 100)
    with closing(SqliteConversations(path, ManualClock())) as kept:
        await kept.keep(b"k", ONE, seconds=60)
        assert await kept.take(b"k", "a") == ONE


async def test_a_file_that_breaks_is_an_oserror(tmp_path):
    path = tmp_path / "conversations.sqlite3"
    with closing(SqliteConversations(path, ManualClock())) as kept:
        with closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE conversation")
        with pytest.raises(OSError, match="out of order"):
            await kept.keep(b"k", ONE, seconds=60)
        with pytest.raises(OSError, match="out of order"):
            await kept.whose(b"k")


async def test_while_another_process_writes_only_those_who_ask_wait(tmp_path):
    path = tmp_path / "conversations.sqlite3"
    with closing(SqliteConversations(path, ManualClock())) as kept:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as tasks:
                for number in range(3):
                    tasks.start_soon(lambda key: kept.keep(key, ONE, seconds=60), b"%d" % number)
                await anyio.wait_all_tasks_blocked()
                assert other.execute("SELECT COUNT(*) FROM conversation").fetchone() == (0,)
                other.execute("COMMIT")
        assert [await kept.whose(b"%d" % number) for number in range(3)] == ["a", "a", "a"]


async def test_who_only_reads_does_not_wait_for_another_process_that_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("transports.pool.conversations._BUSY_SECONDS", 0.0)
    path = tmp_path / "conversations.sqlite3"
    with closing(SqliteConversations(path, ManualClock())) as kept:
        await kept.keep(b"k", ONE, seconds=60)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await kept.whose(b"k") == "a"


def test_a_file_that_cannot_be_made_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match=r"conversations|directory"):
        SqliteConversations(tmp_path, ManualClock())
