"""Requests that wait at several stops of a route, and get the account that is free first."""

from contextlib import asynccontextmanager

import anyio
import pytest

from protocol.model import RateLimited, Saturated, Throttled
from tests.pools import leasing
from tests.transports.conftest import CATALOGUE, request_for
from tests.transports.test_router import Upstream, ask, refusal, router_of, served
from transports.accounts import LeaseRequest, Requirement

CHAT = CATALOGUE.resolve("gemini-3-pro")
LICENSE = request_for("x").caller.id


def pool_of(router, name):
    return next(one.pool for one in router.failovers if one.transport.name == name)


@asynccontextmanager
async def held(router, *names):
    """Hold all accounts of some transports; yield an event by transport that releases them."""
    released = {name: anyio.Event() for name in names}

    async def hold(name, account):
        request = LeaseRequest(requirement=Requirement.of(CHAT), license=LICENSE, only=account.id)
        async with leasing(pool_of(router, name), request):
            await released[name].wait()

    async with anyio.create_task_group() as tasks:
        for one in router.failovers:
            if one.transport.name in names:
                for account in one.transport.accounts:
                    tasks.start_soon(hold, one.transport.name, account)
        await anyio.wait_all_tasks_blocked()
        yield released
        for event in released.values():
            event.set()


def queued(router):
    return [len(one.pool._queue) for one in router.failovers]


def in_flight(router):
    return [state.in_flight for one in router.failovers for state in one.pool.states]


@pytest.mark.parametrize("free", ["first", "second", "third"])
async def test_a_request_waits_for_whichever_stop_is_free_first(free):
    upstreams = Upstream("first", "a"), Upstream("second", "b"), Upstream("third", "c")
    router, answers = router_of(*upstreams, queue_seconds=30), []

    async def request():
        answers.append((await ask(router, "gemini-3-pro"))[1].transport)

    async with held(router, "first", "second", "third") as released, anyio.create_task_group() as tasks:
        tasks.start_soon(request)
        await anyio.wait_all_tasks_blocked()
        assert answers == []
        released[free].set()
    assert answers == [free]
    assert [len(one.asked) for one in upstreams].count(1) == 1
    assert (in_flight(router), queued(router)) == ([0, 0, 0], [0, 0, 0])


async def test_stops_that_are_free_at_the_same_moment_cost_one_account():
    upstreams = Upstream("first", "a"), Upstream("second", "b")
    router = router_of(*upstreams, queue_seconds=30)
    async with held(router, "first", "second") as released, anyio.create_task_group() as tasks:
        tasks.start_soon(served, router)
        await anyio.wait_all_tasks_blocked()
        released["first"].set()
        released["second"].set()
    assert sum(len(one.asked) for one in upstreams) == 1
    assert in_flight(router) == [0, 0]


async def test_busy_stops_are_waited_for_together_and_the_error_says_that_they_are_busy():
    router = router_of(Upstream("first", "a"), Upstream("second", "b"), queue_seconds=0.5)
    async with held(router, "first", "second"), anyio.create_task_group() as tasks:

        async def request():
            error = await refusal(router)
            assert (type(error), error.retry_after) == (Saturated, 2.0)

        tasks.start_soon(request)
        await anyio.wait_all_tasks_blocked()
        assert queued(router) == [1, 1]
    assert queued(router) == [0, 0]


async def test_a_client_that_leaves_the_wait_leaves_no_trace():
    router = router_of(Upstream("first", "a"), Upstream("second", "b"), queue_seconds=30)
    async with held(router, "first", "second"):
        with anyio.move_on_after(0.05):
            await ask(router, "gemini-3-pro")
        assert queued(router) == [0, 0]
    assert in_flight(router) == [0, 0]
    assert await served(router) == "a"


async def test_a_stop_that_cools_down_for_a_moment_is_waited_for_with_the_busy_ones():
    first, second = Upstream("first", "a", steps={"a": Throttled("x", retry_after=1.0)}), Upstream("second", "b")
    router, answers = router_of(first, second, queue_seconds=30), []
    assert await served(router) == "b"
    first.steps.clear()

    async def request():
        answers.append(await served(router))
        first_of_all.cancel()

    async with held(router, "second"):
        with anyio.CancelScope() as first_of_all:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(request)
                await anyio.wait_all_tasks_blocked()
                assert (queued(router), answers) == ([0, 1], [])
                state = pool_of(router, "first").states[0]
                for scope in list(state.cooldowns):
                    state.end_cooldown(scope)
                await anyio.sleep_forever()
    assert answers == ["a"]


async def test_without_a_busy_stop_the_error_names_the_earliest_time_at_once():
    steps = {"a": RateLimited("x", retry_after=90.0), "b": RateLimited("x", retry_after=20.0)}
    router = router_of(*(Upstream(f"t{one}", one, steps=steps) for one in "ab"), queue_seconds=30)
    for _ in range(2):
        assert round((await refusal(router)).retry_after) == 20


async def test_a_busy_account_of_a_stop_that_failed_is_still_waited_for():
    first = Upstream("first", "a", "b", steps={"a": RateLimited("x", retry_after=90.0)})
    second = Upstream("second", "c", step=RateLimited("x", retry_after=90.0))
    router, answers = router_of(first, second, queue_seconds=30), []
    release = anyio.Event()

    async def hold():
        async with leasing(pool_of(router, "first"), LeaseRequest(requirement=Requirement.of(CHAT), only="b")):
            await release.wait()

    async def request():
        answers.append(await served(router))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(request)
        await anyio.wait_all_tasks_blocked()
        assert (first.asked, second.asked, answers) == (["a"], ["c"], [])
        release.set()
    assert answers == ["b"]
