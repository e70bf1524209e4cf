import anyio
import anyio.lowlevel
import pytest

from protocol.model import Capability
from tests.clock import ManualClock
from tests.pools import GatewayProcess
from transports.account import Account
from transports.accounts import Requirement
from transports.accounts.limits import buckets_of
from transports.store import MemoryStore, StoreDown
from transports.store.port import FULL

CHAT = Requirement(family="pro", capability=Capability.CHAT, guest=False)
ACCOUNT = Account(id="a", transport="t", concurrency=6)


class Shaky(MemoryStore):
    """A store that can be out of order, and whose answers can be held back."""

    down = False
    gate = None

    def __init__(self, clock):
        super().__init__(clock)
        self.calls = []

    async def take_slot(self, *args, **kwargs):
        if self.gate is not None:
            done = await super().take_slot(*args, **kwargs)
            await self.gate.wait()
            return done
        self._fail()
        self.calls.append("take_slot")
        return await super().take_slot(*args, **kwargs)

    async def release_slots(self, *args):
        self._fail()
        self.calls.append("release_slots")
        await super().release_slots(*args)

    async def renew_slots(self, *args):
        self._fail()
        await super().renew_slots(*args)

    def _fail(self):
        if self.down:
            raise StoreDown("down")


@pytest.fixture
async def harness():
    clock = ManualClock()
    store = Shaky(clock)
    process = GatewayProcess(clock, store, shared=True, processes=3)
    async with process.limits.open():
        yield clock, store, process.limits


async def enter(limits, account=ACCOUNT):
    return await limits.acquire(account, CHAT)


def lose_slots(store):
    """Do to a store what a restart without a file does."""
    store._slots.clear()


def nothing():
    pass


async def settle(clock, seconds):
    """Let time pass in small steps, and what waits for it run."""
    for _ in range(round(seconds / 0.05)):
        await anyio.wait_all_tasks_blocked()
        clock.advance(0.05)
    await anyio.wait_all_tasks_blocked()


async def test_a_slot_is_taken_in_the_store_and_released_when_idle(harness):
    clock, store, limits = harness
    slot, wait = await enter(limits)
    assert (wait, await store.count_slots("a")) == (0.0, 1)
    free = []
    limits.release(slot, lambda: free.append(1))
    await settle(clock, 0.1)
    assert (free, await store.count_slots("a")) == ([1], 1)
    await settle(clock, 0.4)
    assert await store.count_slots("a") == 0


async def test_a_busy_process_calls_the_store_once_for_many_requests(harness):
    clock, store, limits = harness
    for _ in range(100):
        held = [await enter(limits) for _ in range(2)]
        assert [wait for _, wait in held] == [0.0, 0.0]
        for slot, _ in held:
            limits.release(slot, nothing)
        await settle(clock, 0.05)
    assert store.calls == ["take_slot"] * 2
    await settle(clock, 0.5)
    assert store.calls == ["take_slot"] * 2 + ["release_slots"]
    assert await store.count_slots("a") == 0


async def test_requests_of_an_account_with_a_rate_are_counted_one_by_one(harness):
    clock, _, limits = harness
    account = Account(id="b", transport="t", concurrency=6, per_minute=3)
    waits = []
    for _ in range(4):
        slot, wait = await enter(limits, account)
        waits.append(wait)
        if not wait:
            limits.release(slot, nothing)
        await settle(clock, 0.05)
    assert waits[:3] == [0.0] * 3
    assert 19 < waits[3] <= 20


async def test_slots_are_renewed_only_while_they_are_used(harness):
    clock, store, limits = harness
    held, _ = await enter(limits)
    left, _ = await enter(limits)
    for _ in range(10):
        await anyio.wait_all_tasks_blocked()
        clock.advance(20)
    await anyio.wait_all_tasks_blocked()
    assert await store.count_slots("a") == 2
    limits.release(left, nothing)
    await settle(clock, 0.5)
    assert await store.count_slots("a") == 1
    limits.release(held, nothing)


class Worker:
    """A process that always has as many requests as it gets slots for."""

    def __init__(self, clock, store, name, limit=ACCOUNT.concurrency):
        self.account = Account(id="a", transport="t", concurrency=limit)
        self.limits = GatewayProcess(clock, store, name=name, shared=True, processes=2).limits
        self.held = []

    async def step(self, *, wanted):
        """End all requests, and begin as many as are wanted and as it gets slots for."""
        left = [anyio.Event() for _ in self.held]
        for slot, event in zip(self.held, left, strict=True):
            self.limits.release(slot, event.set)
        self.held = []
        for event in left:
            await event.wait()
        while len(self.held) < wanted:
            slot, wait = await enter(self.limits, self.account)
            if wait:
                break
            self.held.append(slot)


@pytest.fixture
async def workers(open_store):
    clock = ManualClock()
    pair = [Worker(clock, await open_store(), name) for name in ("one", "two")]
    async with pair[0].limits.open(), pair[1].limits.open():
        yield clock, await open_store(), *pair


async def test_processes_share_the_slots_and_never_exceed_them(workers):
    clock, store, one, two = workers
    for turn in range(80):
        await one.step(wanted=6)
        if turn % 5 == 0:  # as its pool looks every quarter of a second
            await two.step(wanted=6)
        assert len(one.held) + len(two.held) <= ACCOUNT.concurrency
        assert await store.count_slots("a") <= ACCOUNT.concurrency
        clock.advance(0.05)
    assert (len(one.held), len(two.held)) == (3, 3)


@pytest.mark.parametrize("limit", [5, 6])
async def test_slots_granted_twice_by_an_emptied_store_are_released(limit):
    clock = ManualClock()
    store = MemoryStore(clock)
    one, two = (Worker(clock, store, name, limit) for name in ("one", "two"))
    async with one.limits.open(), two.limits.open():
        for _ in range(20):
            await one.step(wanted=limit)
            await two.step(wanted=limit)
            clock.advance(0.05)
        lose_slots(store)
        await two.step(wanted=limit)
        assert len(one.held) + len(two.held) > limit
        for _ in range(160):
            await one.step(wanted=limit)
            await two.step(wanted=limit)
            clock.advance(0.05)
        assert limit - 1 <= len(one.held) + len(two.held) <= limit
        assert await store.count_slots("a") <= limit


async def test_taken_slots_are_written_again_when_the_store_is_back(harness):
    clock, store, limits = harness
    kept = [await enter(limits) for _ in range(2)]
    store.down = True
    other, _ = await enter(limits, Account(id="b", transport="t", concurrency=3))
    await settle(clock, 0.1)
    lose_slots(store)
    store.down = False
    await settle(clock, 1.1)
    assert await store.count_slots("a") == len(kept)
    limits.release(other, nothing)


async def test_a_process_keeps_all_slots_while_no_other_waits(workers):
    clock, _, one, _ = workers
    for _ in range(80):
        await one.step(wanted=6)
        assert len(one.held) == 6
        clock.advance(0.05)


async def test_a_slot_released_by_one_process_is_soon_taken_by_another(workers):
    clock, store, one, two = workers
    await one.step(wanted=6)
    await two.step(wanted=1)
    assert not two.held
    await one.step(wanted=0)
    while await store.count_slots("a"):
        clock.advance(0.05)
        await anyio.lowlevel.checkpoint()
    await two.step(wanted=6)
    assert len(two.held) == 6


async def test_a_slot_that_was_taken_while_the_store_was_down_is_not_kept(harness):
    clock, store, limits = harness
    store.down = True
    slot, wait = await enter(limits)
    assert wait == 0.0
    store.down = False
    limits.release(slot, nothing)
    await settle(clock, 0.05)
    assert await enter(limits) is not None
    assert store.calls[-1] == "take_slot"
    assert await store.count_slots("a") == 1


async def test_a_process_uses_only_its_share_while_the_store_is_down(harness):
    clock, store, limits = harness
    store.down = True
    taken = [(await enter(limits)) for _ in range(3)]
    assert [wait for _, wait in taken] == [0.0, 0.0, FULL]
    free = []
    limits.release(taken[0][0], lambda: free.append(1))
    await anyio.wait_all_tasks_blocked()
    assert free == [1]
    assert (await enter(limits))[1] == 0.0
    assert (await enter(limits, Account(id="b", transport="t", concurrency=1)))[1] == 0.0
    store.down = False
    clock.advance(60)
    await anyio.wait_all_tasks_blocked()
    assert (await store.count_slots("a"), await store.count_slots("b")) == (2, 1)


async def test_slots_freed_during_an_outage_are_released_after_it(harness):
    clock, store, limits = harness
    slot, _ = await enter(limits)
    store.down = True
    limits.release(slot, nothing)
    await anyio.wait_all_tasks_blocked()
    assert await store.count_slots("a") == 1
    store.down = False
    clock.advance(1)
    await anyio.wait_all_tasks_blocked()
    assert await store.count_slots("a") == 0


async def test_a_request_cancelled_during_the_store_call_keeps_no_slot(harness):
    _, store, limits = harness
    store.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter, limits)
        await anyio.wait_all_tasks_blocked()
        assert await store.count_slots("a") == 1
        tasks.cancel_scope.cancel()
        store.gate.set()
    await anyio.wait_all_tasks_blocked()
    assert await store.count_slots("a") == 0


async def test_an_ending_process_releases_its_idle_slots():
    clock = ManualClock()
    store = MemoryStore(clock)
    process = GatewayProcess(clock, store, shared=True)
    async with process.limits.open():
        slot, _ = await enter(process.limits)
        process.limits.release(slot, nothing)
    assert await store.count_slots("a") == 0


async def test_a_single_process_does_not_call_the_store():
    process = GatewayProcess()
    async with process.limits.open():
        slot, wait = await enter(process.limits)
        assert (wait, await process.store.count_slots("a")) == (0.0, 0)
        free = []
        process.limits.release(slot, lambda: free.append(1))
        assert free == [1]


def test_rate_limit_tokens_are_divided_among_processes_without_a_shared_store():
    account = Account(id="a", transport="t", per_minute=30, per_day={Capability.CHAT: 2})
    whole, third = buckets_of(account, CHAT, 1), buckets_of(account, CHAT, 3)
    assert [(bucket.name, bucket.capacity) for bucket in whole] == [("a/minute", 30), ("a/day/chat", 2)]
    assert [bucket.capacity for bucket in third] == [10, 1]
    assert third[0].per_second == pytest.approx(1 / 6)
