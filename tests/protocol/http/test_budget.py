import anyio
import anyio.lowlevel
import pytest
from anyio.lowlevel import checkpoint

from protocol.http.budget import MIB, ByteBudget, Reservation, Sender
from protocol.http.errors import HttpError
from protocol.model import Saturated


async def settle():
    for _ in range(5):
        await checkpoint()


async def test_bytes_are_reserved_at_once_and_released():
    budget = ByteBudget(100)
    one, other = Reservation(budget), Reservation(budget)
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


async def test_a_request_larger_than_the_budget_is_refused_with_413():
    with pytest.raises(HttpError) as caught:
        await Reservation(ByteBudget(100)).raise_to(101)
    assert caught.value.status == 413


async def test_a_request_that_waits_too_long_is_refused_with_503_and_reserves_nothing():
    budget = ByteBudget(10 * MIB, wait_seconds=0.01)
    one, other = Reservation(budget), Reservation(budget)
    await one.raise_to(10 * MIB)
    with pytest.raises(Saturated) as caught:
        await other.raise_to(1)
    assert caught.value.code == "overloaded"
    assert caught.value.retry_after > 0
    assert (other.size, budget.waiting) == (0, 0)


async def test_requests_beyond_the_queue_limit_are_refused_at_once():
    budget = ByteBudget(4 * MIB, wait_seconds=60)
    await Reservation(budget).raise_to(4 * MIB)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Reservation(budget).raise_to, 1)
        tasks.start_soon(Reservation(budget).raise_to, 1)
        await settle()
        with pytest.raises(Saturated):
            await Reservation(budget).raise_to(1)
        tasks.cancel_scope.cancel()
    assert budget.waiting == 0


async def test_waiting_licenses_are_served_in_turn():
    budget, served = ByteBudget(20 * MIB, wait_seconds=60), []
    first = Reservation(budget)
    await first.raise_to(20 * MIB)

    async def ask(owner):
        hold = Reservation(budget, owner)
        await hold.raise_to(20 * MIB)
        served.append(owner)
        hold.release()

    async with anyio.create_task_group() as tasks:
        for owner in ("a", "a", "a", "b"):
            tasks.start_soon(ask, owner)
            await settle()
        first.release()
    assert served == ["a", "b", "a", "a"]


async def test_a_large_request_is_not_overtaken_by_later_ones():
    budget, served = ByteBudget(10 * MIB, wait_seconds=60), []
    first = Reservation(budget)
    await first.raise_to(4 * MIB)

    async def ask(size):
        hold = Reservation(budget, "a")
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


async def test_a_request_that_holds_bytes_and_needs_more_goes_first():
    budget, served = ByteBudget(10 * MIB, wait_seconds=60), []
    growing, other = Reservation(budget), Reservation(budget)
    await growing.raise_to(4 * MIB)
    await other.raise_to(6 * MIB)

    async def ask(hold, size):
        await hold.raise_to(size)
        served.append(size)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, Reservation(budget, "a"), 1)
        await settle()
        tasks.start_soon(ask, growing, 6 * MIB)
        await settle()
        other.lower_to(4 * MIB)
        await settle()
        assert served == [6 * MIB]
        growing.release()
    assert served == [6 * MIB, 1]


async def test_a_cancelled_waiting_request_reserves_nothing_and_blocks_no_other():
    budget = ByteBudget(10 * MIB, wait_seconds=60)
    first, large, small = Reservation(budget), Reservation(budget, "a"), Reservation(budget, "a")
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


async def test_only_the_slowest_client_is_disconnected_while_others_wait(monkeypatch):
    monkeypatch.setattr("protocol.http.budget._LOOK_SECONDS", 0.001)
    budget, cut = ByteBudget(10 * MIB, wait_seconds=0.02), []
    hold = Reservation(budget)
    await hold.raise_to(10 * MIB)
    slow, slower, quick = (Sender(budget, lambda name=name: cut.append(name)) for name in ("slow", "slower", "quick"))
    slow.since -= 3
    slower.since -= 4
    quick.since -= 5
    quick.received(40_000)
    quick.received(40_000)
    assert cut == []
    with pytest.raises(Saturated):
        await Reservation(budget).raise_to(1)
    assert cut == ["slower", "slow"]
    quick.close()
    assert not budget.senders


async def test_an_owner_over_its_share_is_served_after_the_others():
    budget, served = ByteBudget(12 * MIB, wait_seconds=60), []
    holds = [Reservation(budget, "greedy") for _ in range(6)]
    for hold in holds:
        await hold.raise_to(2 * MIB)

    async def ask(hold, size):
        await hold.raise_to(size)
        served.append(hold.owner)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, holds[0], 4 * MIB)
        await settle()
        tasks.start_soon(ask, Reservation(budget, "other"), 2 * MIB)
        await settle()
        holds[2].release()
        await settle()
        assert served == ["other"]
        holds[1].release()
    assert served == ["other", "greedy"]


async def test_the_only_request_of_an_owner_may_exceed_its_share():
    budget, served = ByteBudget(12 * MIB, wait_seconds=60), []
    large, small, other = Reservation(budget, "large"), Reservation(budget, "small"), Reservation(budget, "other")
    await large.raise_to(8 * MIB)
    await small.raise_to(4 * MIB)

    async def ask(hold, size):
        await hold.raise_to(size)
        served.append(hold.owner)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, other, 1)
        await settle()
        tasks.start_soon(ask, large, 10 * MIB)
        await settle()
        small.release()
        await settle()
    assert served == ["large", "other"]


async def test_if_all_requests_with_bytes_wait_for_more_the_latest_is_refused_at_once():
    budget, outcomes = ByteBudget(10 * MIB, wait_seconds=60), []

    async def ask(name, hold):
        try:
            await hold.raise_to(8 * MIB)
            outcomes.append(name)
        except Saturated:
            outcomes.append(f"not {name}")
        hold.release()

    first, last = Reservation(budget, "a"), Reservation(budget, "a")
    await first.raise_to(5 * MIB)
    await last.raise_to(5 * MIB)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "first", first)
            await settle()
            tasks.start_soon(ask, "last", last)
    assert outcomes == ["not last", "first"]
    assert (budget.used, budget.waiting, budget.refused) == (0, 0, 1)


async def test_many_waiting_requests_of_an_owner_take_no_queue_slot_from_another():
    budget, outcomes = ByteBudget(4 * MIB, wait_seconds=60), []
    first = Reservation(budget, "many")
    await first.raise_to(4 * MIB)

    async def ask(name, owner):
        hold = Reservation(budget, owner)
        try:
            await hold.raise_to(1)
            outcomes.append(name)
        except Saturated:
            outcomes.append(f"not {name}")

    async with anyio.create_task_group() as tasks:
        for name, owner in (("one", "many"), ("two", "many"), ("three", "few")):
            tasks.start_soon(ask, name, owner)
            await settle()
        assert outcomes == ["not two"]
        first.release()
    assert sorted(outcomes) == ["not two", "one", "three"]


@pytest.mark.parametrize("clients", [1, 2])
async def test_an_owner_over_its_share_loses_a_slow_client_to_a_waiting_owner(monkeypatch, clients):
    monkeypatch.setattr("protocol.http.budget._LOOK_SECONDS", 0.001)
    monkeypatch.setattr("protocol.http.budget._SLOW_SECONDS", 0.01)
    budget, cut = ByteBudget(10 * MIB, wait_seconds=0.5), []
    hold, other = Reservation(budget, "greedy"), Reservation(budget, "other")
    await hold.raise_to(10 * MIB)
    since = anyio.current_time() + 60  # they send quickly
    senders = [Sender(budget, hold.release, "greedy") for _ in range(clients)]
    for sender in senders:
        sender.since = since
    others = Sender(budget, lambda: cut.append("other"), "other")
    others.since = since - 30
    if clients > 1:
        await other.raise_to(4 * MIB)
        assert len(budget.senders) == clients
    else:
        with pytest.raises(Saturated):
            await other.raise_to(4 * MIB)
    assert cut == []
