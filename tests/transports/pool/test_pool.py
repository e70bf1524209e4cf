import anyio
import pytest

from protocol.model import Blocked, Capability, Family, RateLimited, Saturated, SignedOut, Throttled
from tests.clock import ManualClock
from transports.account import Account, AccountKind
from transports.pool import Pool, Reason, Want

CHAT = Want(family=Family.PRO, capability=Capability.CHAT, guest=False)
NONE = frozenset()


def pool_of(*names, wait=5.0, clock=None, **fields):
    accounts = [Account(id=name, transport="t", **fields) for name in names]
    return Pool(accounts, clock or ManualClock(), wait_seconds=wait)


async def test_a_lease_is_given_back_when_its_holder_is_cancelled():
    pool = pool_of("a", concurrency=1)
    async with anyio.create_task_group() as tasks:

        async def hold():
            async with pool.lease(CHAT, NONE):
                held.set()
                await anyio.sleep_forever()

        held = anyio.Event()
        tasks.start_soon(hold)
        await held.wait()
        assert pool.states[0].in_flight == 1
        tasks.cancel_scope.cancel()
    assert pool.states[0].in_flight == 0


async def test_a_waiting_request_gets_the_account_when_it_is_given_back():
    pool = pool_of("a", concurrency=1)
    got = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def wait():
            async with pool.lease(CHAT, NONE) as lease:
                assert lease.account.id == "a"
                got.set()

        async with pool.lease(CHAT, NONE):
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not got.is_set()
        with anyio.fail_after(5):
            await got.wait()


async def test_many_waiters_all_get_their_turn():
    pool = pool_of("a", "b", concurrency=2, wait=30.0)
    served = 0

    async def one():
        nonlocal served
        async with pool.lease(CHAT, NONE):
            await anyio.lowlevel.checkpoint()
            served += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(11):
            tasks.start_soon(one)
    assert served == 11
    assert [state.in_flight for state in pool.states] == [0, 0]


async def test_no_wait_for_a_resting_account_the_time_is_told():
    clock = ManualClock()
    pool = pool_of("a", "b", clock=clock)
    pool.states[0].rest(clock.monotonic() + 100, CHAT, Reason.QUOTA, clock.monotonic())
    pool.states[1].rest(clock.monotonic() + 40, CHAT, Reason.QUOTA, clock.monotonic())
    with pytest.raises(RateLimited) as caught:
        async with pool.lease(CHAT, NONE):
            pass
    assert caught.value.retry_after == 40


async def test_a_blocked_address_is_no_usage_limit():
    clock = ManualClock()
    pool = pool_of("a", "b", clock=clock)
    pool.block("", clock.monotonic() + 600)
    clock.advance(60)
    with pytest.raises(Blocked) as caught:
        async with pool.lease(CHAT, NONE):
            pass
    assert caught.value.retry_after == 540


async def test_a_blocked_address_leaves_the_accounts_with_another_way_out():
    clock = ManualClock()
    accounts = [Account(id=name, transport="t", egress=way) for name, way in (("a", ""), ("b", "http://p:1"))]
    pool = Pool(accounts, clock, wait_seconds=5.0)
    pool.block("", clock.monotonic() + 600)
    async with pool.lease(CHAT, NONE) as lease:
        assert lease.account.id == "b"


async def test_so_many_a_minute_is_no_usage_limit():
    clock = ManualClock()
    pool = pool_of("a", clock=clock, per_minute=1)
    async with pool.lease(CHAT, NONE):
        pass
    clock.advance(20)
    with pytest.raises(Throttled) as caught:
        async with pool.lease(CHAT, NONE):
            pass
    assert (caught.value.code, caught.value.retry_after) == ("rate_limit_exceeded", 40)


async def test_what_ends_first_is_what_the_caller_is_told():
    clock = ManualClock()
    pool = pool_of("a", "b", clock=clock)
    pool.states[0].rest(clock.monotonic() + 3600, CHAT, Reason.QUOTA, clock.monotonic())
    pool.states[1].rest(clock.monotonic() + 30, CHAT, Reason.PACE, clock.monotonic())
    with pytest.raises(Throttled) as caught:
        async with pool.lease(CHAT, NONE):
            pass
    assert caught.value.retry_after == 30


async def test_all_parked_is_for_an_operator():
    pool = pool_of("a")
    pool.states[0].park("consent", pool._clock.monotonic())
    with pytest.raises(SignedOut):
        async with pool.lease(CHAT, NONE):
            pass


async def test_none_that_suits_is_for_an_operator_too():
    with pytest.raises(SignedOut):
        async with pool_of("guest", kind=AccountKind.GUEST).lease(CHAT, NONE):
            pass


async def test_a_busy_pool_is_saturated_after_the_wait():
    pool = pool_of("a", concurrency=1, wait=0.01)
    async with pool.lease(CHAT, NONE):
        with pytest.raises(Saturated):
            async with pool.lease(CHAT, NONE):
                pass


async def test_the_queue_is_bounded():
    pool = pool_of("a", concurrency=1, wait=30.0)
    refused = []

    async def one():
        try:
            async with pool.lease(CHAT, NONE):
                pass
        except Saturated as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        async with pool.lease(CHAT, NONE):
            for _ in range(5):
                tasks.start_soon(one)
            await anyio.wait_all_tasks_blocked()
            assert len(refused) == 3
