import anyio
import anyio.lowlevel
import pytest
from anyio.lowlevel import checkpoint

from protocol.http.budget import MIB, ByteBudget, Hold, Sender
from protocol.http.faults import HttpFault
from protocol.model import Saturated


async def settle():
    for _ in range(5):
        await checkpoint()


async def test_what_fits_is_reserved_at_once_and_given_back():
    budget = ByteBudget(100)
    one, other = Hold(budget), Hold(budget)
    await one.raise_to(60)
    await one.raise_to(50)
    await other.raise_to(40)
    assert (one.size, other.size, budget.used) == (60, 40, 100)
    one.lower_to(10)
    one.lower_to(20)
    assert (one.size, budget.used) == (10, 50)
    one.release()
    other.release()
    one.release()
    assert budget.used == 0


async def test_what_can_never_fit_is_413():
    with pytest.raises(HttpFault) as caught:
        await Hold(ByteBudget(100)).raise_to(101)
    assert caught.value.status == 413


async def test_what_does_not_fit_in_time_is_503_and_holds_nothing():
    budget = ByteBudget(10 * MIB, wait_seconds=0.01)
    one, other = Hold(budget), Hold(budget)
    await one.raise_to(10 * MIB)
    with pytest.raises(Saturated) as caught:
        await other.raise_to(1)
    assert caught.value.code == "overloaded"
    assert caught.value.retry_after > 0
    assert (other.size, budget.waiting) == (0, 0)


async def test_too_many_that_wait_are_refused_at_once():
    budget = ByteBudget(4 * MIB, wait_seconds=60)
    await Hold(budget).raise_to(4 * MIB)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Hold(budget).raise_to, 1)
        tasks.start_soon(Hold(budget).raise_to, 1)
        await settle()
        with pytest.raises(Saturated):
            await Hold(budget).raise_to(1)
        tasks.cancel_scope.cancel()
    assert budget.waiting == 0


async def test_licenses_are_served_in_turns():
    budget, served = ByteBudget(20 * MIB, wait_seconds=60), []
    first = Hold(budget)
    await first.raise_to(20 * MIB)

    async def ask(owner):
        hold = Hold(budget, owner)
        await hold.raise_to(20 * MIB)
        served.append(owner)
        hold.release()

    async with anyio.create_task_group() as tasks:
        for owner in ("a", "a", "a", "b"):
            tasks.start_soon(ask, owner)
            await settle()
        first.release()
    assert served == ["a", "b", "a", "a"]


async def test_a_large_one_is_not_overtaken_by_those_that_came_later():
    budget, served = ByteBudget(10 * MIB, wait_seconds=60), []
    first = Hold(budget)
    await first.raise_to(4 * MIB)

    async def ask(size):
        hold = Hold(budget, "a")
        await hold.raise_to(size)
        served.append(size)
        hold.release()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, 8 * MIB)
        await settle()
        tasks.start_soon(ask, 1)
        await settle()
        assert served == []
        first.release()
    assert served == [8 * MIB, 1]


async def test_one_that_holds_bytes_and_needs_more_goes_first():
    budget, served = ByteBudget(10 * MIB, wait_seconds=60), []
    growing, other = Hold(budget), Hold(budget)
    await growing.raise_to(4 * MIB)
    await other.raise_to(6 * MIB)

    async def ask(hold, size):
        await hold.raise_to(size)
        served.append(size)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, Hold(budget, "a"), 1)
        await settle()
        tasks.start_soon(ask, growing, 6 * MIB)
        await settle()
        other.lower_to(4 * MIB)
        await settle()
        assert served == [6 * MIB]
        growing.release()
    assert served == [6 * MIB, 1]


async def test_one_that_is_cancelled_while_it_waits_holds_nothing_and_lets_others_pass():
    budget = ByteBudget(10 * MIB, wait_seconds=60)
    first, large, small = Hold(budget), Hold(budget, "a"), Hold(budget, "a")
    await first.raise_to(5 * MIB)
    scope = anyio.CancelScope()

    async def wait_for_much():
        with scope:
            await large.raise_to(10 * MIB)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_for_much)
        await settle()
        tasks.start_soon(small.raise_to, 1)
        await settle()
        assert small.size == 0
        scope.cancel()
    assert (large.size, small.size, budget.used) == (0, 1, 5 * MIB + 1)


async def test_the_slowest_client_is_cut_off_while_others_wait_and_one_that_sends_is_not(monkeypatch):
    monkeypatch.setattr("protocol.http.budget._LOOK_SECONDS", 0.001)
    budget, cut = ByteBudget(10 * MIB, wait_seconds=0.02), []
    hold = Hold(budget)
    await hold.raise_to(10 * MIB)
    slow, slower, quick = (Sender(budget, lambda name=name: cut.append(name)) for name in ("slow", "slower", "quick"))
    slow.since -= 3
    slower.since -= 4
    quick.since -= 5
    quick.came(40_000)
    quick.came(40_000)
    assert cut == []
    with pytest.raises(Saturated):
        await Hold(budget).raise_to(1)
    assert cut == ["slower", "slow"]
    quick.close()
    assert not budget.senders
