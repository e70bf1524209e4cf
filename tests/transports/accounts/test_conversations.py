"""Stored conversations, with every kind of store."""

import sys
from contextlib import nullcontext

import anyio
import pytest

from tests.clock import ManualClock
from tests.conftest import ROOT
from transports.accounts import Conversations
from transports.accounts.conversations import StoredConversation
from transports.clock import SystemClock
from transports.store import MemoryStore, SqliteStore, StoreDown
from transports.store.port import CONVERSATIONS

ONE = StoredConversation(account="a", conversation=b"c_1")
TWO = StoredConversation(account="a", conversation=b"c_2")

TAKER = """
import sys, anyio
from pathlib import Path
from transports.clock import SystemClock
from transports.accounts import Conversations
from transports.store import SqliteStore

async def take():
    store = SqliteStore(Path(sys.argv[1]), SystemClock())
    print((await Conversations(store, SystemClock()).take(b"k", "a")).conversation.decode())

anyio.run(take)
"""


class World:
    """Conversations of several processes, and their time."""

    def __init__(self, open_store):
        self._open, self.clock, self.seconds = open_store, ManualClock(), open_store.short

    async def process(self, most=3):
        return Conversations(await self._open(), self.clock, most)

    async def elapse(self):
        """Let pass what a conversation lasts."""
        self.clock.advance(self.seconds)
        await self._open.elapse(self.seconds)


@pytest.fixture
def world(open_store):
    return World(open_store)


@pytest.fixture
async def through(world):
    """A process that writes at once."""
    return await world.process()


@pytest.fixture(params=["through", "together", "behind"])
async def kept(world, request):
    """A process that writes each change separately, concurrent changes together, or, as the only one, later."""
    one = await world.process()
    opens = {"through": nullcontext, "together": one.write_together, "behind": one.write_behind}
    async with opens[request.param]():
        yield one


async def test_a_conversation_is_taken_once(kept):
    assert await kept.account_of(b"k") is None
    await kept.keep(b"k", ONE, seconds=60)
    assert await kept.account_of(b"k") == "a"
    assert await kept.take(b"k", "b") is None
    assert await kept.take(b"k", "a") == ONE
    assert await kept.take(b"k", "a") is None
    assert await kept.account_of(b"k") is None


async def test_one_of_many_requests_takes_a_conversation(world):
    processes = [await world.process() for _ in range(3)]
    await processes[0].keep(b"k", ONE, seconds=60)
    assert [await one.account_of(b"k") for one in processes] == ["a"] * 3
    taken = []

    async def take(one):
        taken.append(await one.take(b"k", "a"))

    async with anyio.create_task_group() as tasks:
        for one in processes * 3:
            tasks.start_soon(take, one)
    assert [found for found in taken if found is not None] == [ONE]


async def test_the_latest_stored_conversation_is_taken(world):
    one, other = await world.process(), await world.process()
    await one.keep(b"k", ONE, seconds=60)
    assert await one.account_of(b"k") == "a"
    assert await other.take(b"k", "a") == ONE
    await other.keep(b"k", TWO, seconds=60)
    assert await one.take(b"k", "a") == TWO


async def test_an_expired_conversation_is_only_overdue(world, kept):
    await kept.keep(b"k", ONE, seconds=world.seconds)
    assert await kept.overdue("a", most=5) == []
    assert await kept.account_of(b"k") == "a"
    await world.elapse()
    assert await kept.take(b"k", "a") is None
    assert await kept.account_of(b"k") is None
    assert await kept.overdue("b", most=5) == []
    assert await kept.overdue("a", most=5) == [ONE]
    assert await kept.overdue("a", most=5) == []


async def test_a_taken_conversation_is_never_overdue(world, kept):
    await kept.keep(b"k", ONE, seconds=world.seconds)
    await kept.take(b"k", "a")
    await world.elapse()
    assert await kept.overdue("a", most=5) == []


async def test_a_conversation_put_back_can_be_continued_and_has_a_new_expiry(world, kept):
    await kept.keep(b"k", ONE, seconds=world.seconds)
    await kept.take(b"k", "a")
    await kept.keep(b"k", ONE, seconds=world.seconds)
    assert await kept.take(b"k", "a") == ONE
    await kept.keep(b"k", ONE, seconds=world.seconds)
    await world.elapse()
    assert await kept.overdue("a", most=5) == [ONE]


async def test_a_replaced_conversation_is_overdue(kept):
    await kept.keep(b"k", ONE, seconds=60)
    await kept.keep(b"k", ONE, seconds=60)
    assert await kept.overdue("a", most=5) == []
    await kept.keep(b"k", TWO, seconds=60)
    assert await kept.overdue("a", most=5) == [ONE]
    assert await kept.take(b"k", "a") == TWO


async def test_conversations_over_the_limit_are_overdue(kept):
    for number in range(5):
        await kept.keep(
            b"%d" % number, StoredConversation(account="a", conversation=b"c_%d" % number), seconds=60 + number
        )
    over = [found.conversation for found in await kept.overdue("a", most=1)]
    over += [found.conversation for found in await kept.overdue("a", most=9)]
    assert over == [b"c_0", b"c_1"]
    assert [await kept.account_of(b"%d" % number) for number in range(5)] == [None, None, "a", "a", "a"]


async def test_accounts_share_the_limit(world):
    kept = await world.process(most=4)
    for number in range(4):
        for account in ("a", "b"):
            conversation = StoredConversation(account=account, conversation=b"%s_%d" % (account.encode(), number))
            await kept.keep(b"%s%d" % (account.encode(), number), conversation, seconds=60 + number)
    assert [found.conversation for found in await kept.overdue("a", most=9)] == [b"a_0", b"a_1"]
    assert [found.conversation for found in await kept.overdue("b", most=9)] == [b"b_0", b"b_1"]


async def test_conversations_of_an_ended_process_become_overdue_once(world, through):
    await through.keep(b"k", ONE, seconds=world.seconds)
    await world.elapse()
    heirs = [await world.process() for _ in range(2)]
    assert sorted([await heir.overdue("a", most=5) for heir in heirs]) == [[], [ONE]]


async def test_an_unreadable_conversation_is_skipped(world, open_store):
    store, kept = await open_store(), await world.process()
    await (await world.process()).keep(b"k", ONE, seconds=60)
    (name,) = await store.keys(CONVERSATIONS)
    await store.put(CONVERSATIONS, name, b"nonsense", seconds=1000)
    assert await kept.account_of(b"k") is None
    assert await kept.take(b"k", "a") is None
    await kept.keep(b"k", TWO, seconds=60)
    assert await kept.take(b"k", "a") == TWO


class Counted(MemoryStore):
    """A store that counts its calls."""

    def __init__(self, clock):
        super().__init__(clock)
        self.calls = []

    async def get(self, *arguments, **options):
        self.calls.append("get")
        return await super().get(*arguments, **options)

    async def put(self, *arguments, **options):
        self.calls.append("put")
        return await super().put(*arguments, **options)

    async def remove(self, *arguments, **options):
        self.calls.append("remove")
        return await super().remove(*arguments, **options)

    async def write(self, changes):
        calls, self.calls = [*self.calls, len(changes)], []
        try:
            return await super().write(changes)
        finally:
            self.calls = calls


async def test_a_turn_of_a_known_conversation_costs_one_removal_and_one_put():
    store = Counted(ManualClock())
    kept, other = Conversations(store, ManualClock()), Conversations(store, ManualClock())
    await kept.keep(b"1", ONE, seconds=60)
    store.calls.clear()
    await kept.account_of(b"1")
    await kept.take(b"1", "a")
    await kept.keep(b"2", TWO, seconds=60)
    assert store.calls == ["remove", "put"]
    store.calls.clear()
    await other.account_of(b"2")
    await other.take(b"2", "a")
    assert store.calls == ["get", "remove"]


async def test_simultaneous_turns_share_store_calls():
    store = Counted(ManualClock())
    kept = Conversations(store, ManualClock())

    async def turn(number):
        await kept.keep(b"first-%d" % number, ONE, seconds=60)
        assert await kept.take(b"first-%d" % number, "a") == ONE
        await kept.keep(b"second-%d" % number, TWO, seconds=60)

    async with kept.write_together(), anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(turn, number)
    assert store.calls == [10, 10, 10]
    assert [await Conversations(store, ManualClock()).account_of(b"second-%d" % number) for number in range(10)] == [
        "a"
    ] * 10


async def test_a_conversation_stored_again_by_another_process_is_found(world):
    one, other = await world.process(), await world.process()
    await one.keep(b"k", ONE, seconds=60)
    await other.keep(b"k", TWO, seconds=60)
    assert await one.take(b"k", "a") == TWO
    await one.keep(b"k", ONE, seconds=60)
    assert await other.take(b"k", "a") == ONE
    assert await one.account_of(b"k") == "a"  # a hint
    assert await one.take(b"k", "a") is None
    assert await one.account_of(b"k") is None


async def elapse(clock, seconds):
    await anyio.wait_all_tasks_blocked()
    clock.advance(seconds)
    await anyio.wait_all_tasks_blocked()


async def test_a_single_process_writes_changes_together_and_skips_cancelled_ones():
    clock = ManualClock()
    store = Counted(clock)
    kept = Conversations(store, clock)
    async with kept.write_behind():
        for number in range(20):
            await kept.keep(b"%d" % number, ONE, seconds=60)
        for number in range(10):
            assert await kept.take(b"%d" % number, "a") == ONE
        assert store.calls == []
        await elapse(clock, 0.1)
        assert store.calls == [10]
        assert len(await store.keys(CONVERSATIONS)) == 10
        for number in range(9, 12):
            await kept.take(b"%d" % number, "a")
        await kept.keep(b"10", TWO, seconds=60)
        assert await kept.take(b"11", "a") is None
    assert store.calls == [10, "get", 2]
    other = Conversations(store, clock)
    assert await other.take(b"10", "a") == TWO
    assert await other.take(b"11", "a") is None
    assert await other.take(b"12", "a") == ONE


class Slow(Counted):
    """A store that holds back an answer, or is down."""

    gate = None
    down = False

    async def get(self, *arguments, **options):
        found = await super().get(*arguments, **options)
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def write(self, changes):
        if self.down:
            raise StoreDown("out of order")
        done = await super().write(changes)
        if self.gate is not None:
            await self.gate.wait()
        return done


async def test_one_of_two_requests_takes_it_while_the_store_is_slow():
    clock = ManualClock()
    store = Slow(clock)
    await Conversations(store, clock).keep(b"k", ONE, seconds=60)
    kept, taken = Conversations(store, clock), []

    async def take():
        taken.append(await kept.take(b"k", "a"))

    async with kept.write_behind(), anyio.create_task_group() as tasks:
        store.gate = anyio.Event()
        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        slow, store.gate = store.gate, None
        await take()
        await elapse(clock, 0.1)  # the removal is written
        slow.set()
    assert taken == [ONE, None]


async def test_a_conversation_taken_during_its_write_is_taken_once():
    clock = ManualClock()
    store = Slow(clock)
    kept, taken = Conversations(store, clock), []

    async def take():
        taken.append(await kept.take(b"k", "a"))

    async with kept.write_behind(), anyio.create_task_group() as tasks:
        await kept.keep(b"k", ONE, seconds=60)
        store.gate = anyio.Event()
        await elapse(clock, 0.1)
        for _ in range(3):
            tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert sorted(taken, key=bool) == [None, None, ONE]
    assert await store.keys(CONVERSATIONS) == []


async def test_pending_changes_are_written_when_the_store_is_back():
    clock = ManualClock()
    store = Slow(clock)
    kept = Conversations(store, clock)
    async with kept.write_behind():
        await kept.keep(b"k", ONE, seconds=60)
        await kept.keep(b"l", TWO, seconds=60)
        store.down = True
        await elapse(clock, 0.1)
        assert await kept.take(b"l", "a") == TWO
        store.down = False
        await elapse(clock, 1.0)
        await elapse(clock, 0.1)
        assert len(await store.keys(CONVERSATIONS)) == 1
        assert await kept.take(b"k", "a") == ONE
    assert await store.keys(CONVERSATIONS) == []


@pytest.mark.parametrize("most", [10, 1000])
async def test_the_cost_of_a_conversation_does_not_depend_on_their_number(most):
    store = Counted(ManualClock())
    kept = Conversations(store, ManualClock(), most)
    for number in range(2 * most):
        await kept.keep(b"%d" % number, ONE, seconds=60)
    assert store.calls == ["put"] * (2 * most)


async def test_each_conversation_is_removed_once():
    clock = ManualClock()
    store = Counted(clock)
    kept = Conversations(store, clock, 100)
    for number in range(1000):
        await kept.keep(b"%d" % number, ONE, seconds=60)
        if number % 3 == 0:
            assert await kept.take(b"%d" % number, "a") == ONE
    store.calls.clear()
    found = 0
    while over := await kept.overdue("a", most=50):
        found += len(over)
    assert found == 666 - 100
    assert store.calls == ["get", "remove"] * found
    clock.advance(61)
    while over := await kept.overdue("a", most=50):
        found += len(over)
    assert found == 666
    assert await store.keys(CONVERSATIONS) == []


async def test_a_failed_store_raises_oserror_and_leaves_no_partial_change():
    class Moody(MemoryStore):
        down = False

        async def get(self, *arguments, **options):
            if self.down:
                raise StoreDown("out of order")
            return await super().get(*arguments, **options)

        async def scan(self, *arguments, **options):
            if self.down:
                raise StoreDown("out of order")
            return await super().scan(*arguments, **options)

    clock = ManualClock()
    store = Moody(clock)
    await Conversations(store, clock).keep(b"k", ONE, seconds=60)
    store.down, kept = True, Conversations(store, clock)
    for ask in (lambda: kept.account_of(b"k"), lambda: kept.take(b"k", "a"), lambda: kept.overdue("a", most=5)):
        with pytest.raises(OSError, match="out of order"):
            await ask()
    store.down = False
    clock.advance(61)
    assert await kept.overdue("a", most=5) == [ONE]


async def test_another_process_takes_a_conversation_from_the_file(tmp_path):
    path, clock = tmp_path / "gateway.sqlite3", SystemClock()
    store = SqliteStore(path, clock)
    try:
        kept = Conversations(store, clock)
        await kept.keep(b"k", ONE, seconds=60)
        assert await kept.account_of(b"k") == "a"
        command = [sys.executable, "-c", TAKER, str(path)]
        assert (await anyio.run_process(command, cwd=ROOT)).stdout == b"c_1\n"
        assert await kept.take(b"k", "a") is None
    finally:
        store.close()
