"""One contract for every keeper of conversations."""

import pytest

from tests.clock import ManualClock
from transports.base import Kept
from transports.pool import MemoryConversations, SqliteConversations

ONE = Kept(account="a", conversation=b"c_1")


@pytest.fixture(params=["memory", "sqlite"])
def opened(request, tmp_path):
    clock = ManualClock()
    if request.param == "memory":
        return clock, MemoryConversations(clock, most=3)
    return clock, SqliteConversations(tmp_path / "deep" / "conversations.sqlite3", clock, most=3)


async def test_a_conversation_is_taken_once(opened):
    _, kept = opened
    assert await kept.whose(b"k") is None
    await kept.keep(b"k", ONE, seconds=60)
    assert await kept.whose(b"k") == "a"
    assert await kept.take(b"k") == ONE
    assert await kept.take(b"k") is None
    assert await kept.whose(b"k") is None


async def test_when_its_time_is_over_it_is_only_overdue(opened):
    clock, kept = opened
    await kept.keep(b"k", ONE, seconds=60)
    assert await kept.overdue("a", most=5) == []
    clock.advance(61)
    assert await kept.whose(b"k") is None
    assert await kept.take(b"k") is None
    assert await kept.overdue("b", most=5) == []
    assert await kept.overdue("a", most=5) == [ONE]
    assert await kept.overdue("a", most=5) == []


async def test_what_was_taken_is_never_overdue(opened):
    clock, kept = opened
    await kept.keep(b"k", ONE, seconds=60)
    await kept.take(b"k")
    clock.advance(61)
    assert await kept.overdue("a", most=5) == []


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
    await SqliteConversations(path, clock).keep(b"k", ONE, seconds=60)
    assert await SqliteConversations(path, clock).take(b"k") == ONE


async def test_a_file_that_is_broken_is_made_anew(tmp_path):
    path = tmp_path / "conversations.sqlite3"
    path.write_bytes(b"this is no database" * 100)
    kept = SqliteConversations(path, ManualClock())
    await kept.keep(b"k", ONE, seconds=60)
    assert await kept.take(b"k") == ONE


def test_a_file_that_cannot_be_made_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match=r"conversations|directory"):
        SqliteConversations(tmp_path, ManualClock())
