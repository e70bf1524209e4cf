import anyio
import pytest

from protocol.model import Capability, Family
from tests.clock import ManualClock
from tests.pools import Replica
from transports.account import Account
from transports.pool import Want
from transports.pool.seats import buckets_of
from transports.store import MemoryStore, StoreDown
from transports.store.port import FULL

CHAT = Want(family=Family.PRO, capability=Capability.CHAT, guest=False)
ACCOUNT = Account(id="a", transport="t", concurrency=6)


class Shaky(MemoryStore):
    """A store that can be out of order, and whose answers can be held back."""

    down = False
    gate = None

    async def enter(self, *args, **kwargs):
        if self.gate is not None:
            done = await super().enter(*args, **kwargs)
            await self.gate.wait()
            return done
        self._fail()
        return await super().enter(*args, **kwargs)

    async def leave(self, *args):
        self._fail()
        await super().leave(*args)

    async def stay(self, *args):
        self._fail()
        await super().stay(*args)

    def _fail(self):
        if self.down:
            raise StoreDown("down")


@pytest.fixture
async def bed():
    clock = ManualClock()
    store = Shaky(clock)
    replica = Replica(clock, store, shared=True, replicas=3)
    async with replica.seats.open():
        yield clock, store, replica.seats


async def enter(seats, account=ACCOUNT):
    return await seats.enter(account, CHAT)


def nothing():
    pass


async def test_a_seat_is_taken_in_the_store_and_given_back(bed):
    _, store, seats = bed
    seat, wait = await enter(seats)
    assert (wait, await store.seated("a")) == (0.0, 1)
    free = []
    seats.leave(seat, lambda: free.append(1))
    assert not free
    await anyio.wait_all_tasks_blocked()
    assert (free, await store.seated("a")) == ([1], 0)


async def test_seats_are_kept_for_as_long_as_they_are_used_and_no_longer(bed):
    clock, store, seats = bed
    held, _ = await enter(seats)
    left, _ = await enter(seats)
    for _ in range(10):
        await anyio.wait_all_tasks_blocked()
        clock.advance(20)
    await anyio.wait_all_tasks_blocked()
    assert await store.seated("a") == 2
    seats.leave(left, nothing)
    clock.advance(20)
    await anyio.wait_all_tasks_blocked()
    assert await store.seated("a") == 1
    seats.leave(held, nothing)


async def test_while_the_store_is_down_a_process_has_its_part_and_no_more(bed):
    clock, store, seats = bed
    store.down = True
    taken = [(await enter(seats)) for _ in range(3)]
    assert [wait for _, wait in taken] == [0.0, 0.0, FULL]
    free = []
    seats.leave(taken[0][0], lambda: free.append(1))
    await anyio.wait_all_tasks_blocked()
    assert free == [1]
    assert (await enter(seats))[1] == 0.0
    assert (await enter(seats, Account(id="b", transport="t", concurrency=1)))[1] == 0.0
    store.down = False
    clock.advance(60)
    await anyio.wait_all_tasks_blocked()
    assert (await store.seated("a"), await store.seated("b")) == (2, 1)


async def test_what_was_left_in_an_outage_is_given_back_after_it(bed):
    clock, store, seats = bed
    seat, _ = await enter(seats)
    store.down = True
    seats.leave(seat, nothing)
    await anyio.wait_all_tasks_blocked()
    assert await store.seated("a") == 1
    store.down = False
    clock.advance(1)
    await anyio.wait_all_tasks_blocked()
    assert await store.seated("a") == 0


async def test_who_is_cancelled_while_the_store_answers_holds_no_seat(bed):
    _, store, seats = bed
    store.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter, seats)
        await anyio.wait_all_tasks_blocked()
        assert await store.seated("a") == 1
        tasks.cancel_scope.cancel()
        store.gate.set()
    await anyio.wait_all_tasks_blocked()
    assert await store.seated("a") == 0


async def test_a_process_that_ends_gives_back_what_it_left():
    clock = ManualClock()
    store = MemoryStore(clock)
    replica = Replica(clock, store, shared=True)
    async with replica.seats.open():
        seat, _ = await enter(replica.seats)
        replica.seats.leave(seat, nothing)
    assert await store.seated("a") == 0


async def test_one_process_alone_asks_no_store():
    replica = Replica()
    async with replica.seats.open():
        seat, wait = await enter(replica.seats)
        assert (wait, await replica.store.seated("a")) == (0.0, 0)
        free = []
        replica.seats.leave(seat, lambda: free.append(1))
        assert free == [1]


def test_an_accounts_tokens_are_shared_out_where_nobody_can_share_them():
    account = Account(id="a", transport="t", per_minute=30, per_day={Capability.CHAT: 2})
    whole, third = buckets_of(account, CHAT, 1), buckets_of(account, CHAT, 3)
    assert [(bucket.name, bucket.most) for bucket in whole] == [("a/minute", 30), ("a/day/chat", 2)]
    assert [bucket.most for bucket in third] == [10, 1]
    assert third[0].per_second == pytest.approx(1 / 6)
