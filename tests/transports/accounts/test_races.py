"""Several processes and one account: never more than it may carry. Source: reliability 3.2."""

from contextlib import AsyncExitStack

import anyio
import pytest

from protocol.model import Capability
from tests.clock import ManualClock
from tests.pools import GatewayProcess, leasing
from tests.transports.store.conftest import open_store, servers  # noqa: F401 -- fixtures
from transports.account import Account
from transports.accounts import LeaseRequest, Requirement
from transports.clock import SystemClock
from transports.store import MemoryStore

CHAT = Requirement(family="pro", capability=Capability.CHAT, guest=False)
ACCOUNTS = [Account(id="a", transport="t", concurrency=3), Account(id="b", transport="t", concurrency=2)]
EACH = 334


class Judge:
    """Counts who carries what, over all processes."""

    def __init__(self):
        self.now, self.most, self.done = {"a": 0, "b": 0}, {"a": 0, "b": 0}, 0

    async def one(self, pool):
        async with leasing(pool, LeaseRequest(requirement=CHAT)) as lease:
            name = lease.account.id
            self.now[name] += 1
            self.most[name] = max(self.most[name], self.now[name])
            await anyio.lowlevel.checkpoint()
            self.now[name] -= 1
            self.done += 1


async def test_three_processes_never_exceed_the_concurrency_of_accounts(
    open_store,  # noqa: F811
    monkeypatch,
):
    # A call of the store that takes longer would make each process count alone.
    monkeypatch.setattr("transports.accounts.limits._ENTER_SECONDS", 60.0)
    judge = Judge()
    async with anyio.create_task_group() as running:
        async with AsyncExitStack() as stack:
            pools = []
            for name in ("one", "two", "three"):
                process = GatewayProcess(SystemClock(), await open_store(), name=name, shared=True, processes=3)
                await stack.enter_async_context(process.limits.open())
                pools.append(process.pool(lambda: ACCOUNTS, queue_timeout_seconds=60.0, queue_per_slot=EACH))
                running.start_soon(pools[-1].run)
            async with anyio.create_task_group() as asking:
                for _ in range(EACH):
                    for pool in pools:
                        asking.start_soon(judge.one, pool)
        running.cancel_scope.cancel()
    assert judge.done == 3 * EACH
    assert judge.most["a"] <= 3
    assert judge.most["b"] <= 2
    assert sum(judge.most.values()) > 2  # they met
    store = await open_store()
    assert [await store.count_slots(name) for name in ("a", "b")] == [0, 0]


@pytest.mark.parametrize("seconds", [60.0])
async def test_the_slots_of_a_dead_process_expire(seconds):
    clock = ManualClock()
    store = MemoryStore(clock)
    dead = GatewayProcess(clock, store, name="dead", shared=True).pool(lambda: ACCOUNTS[:1])
    for _ in range(3):
        await dead.lease(LeaseRequest(requirement=CHAT))
    process = GatewayProcess(clock, store, name="alive", shared=True)
    pool, held = process.pool(lambda: ACCOUNTS[:1], queue_timeout_seconds=30.0), []

    async def wait():
        async with leasing(pool, LeaseRequest(requirement=CHAT)) as lease:
            held.append(lease.account.id)

    async with process.limits.open(), anyio.create_task_group() as tasks:
        tasks.start_soon(pool.run)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        clock.advance(seconds - 1)
        await anyio.wait_all_tasks_blocked()
        assert held == []
        clock.advance(1)
        await anyio.wait_all_tasks_blocked()
        assert held == ["a"]
        tasks.cancel_scope.cancel()
