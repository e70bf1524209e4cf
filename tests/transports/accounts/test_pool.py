import random
from functools import partial

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.model import Blocked, Capability, RateLimited, Saturated, SignedOut, Throttled
from tests.clock import ManualClock
from tests.pools import GatewayProcess, leasing
from transports.account import Account, AccountKind, Facts
from transports.accounts import CooldownReason, LeaseRequest, Requirement
from transports.accounts.availability import EVERYTHING, AccountState, Cooldown
from transports.accounts.pool import choose, next_free
from transports.accounts.records import AttentionRecord
from transports.accounts.registry import PauseRecord

CHAT = Requirement(family="pro", capability=Capability.CHAT, guest=False)
IMAGE = Requirement(family="pro", capability=Capability.IMAGEN, guest=False)
FREE = Requirement(family="flash", capability=Capability.CHAT, guest=True)


class PoolHarness:
    """A pool of a single process, with its clock, observer and accounts."""

    def __init__(self, *names, clock=None, config=None, **fields):
        self.accounts = [Account(id=name, transport="t", **fields) for name in names]
        self.process = GatewayProcess(clock)
        self.clock, self.observer = self.process.clock, self.process.observer
        self.pool = self.process.pool(lambda: self.accounts, **(config or {}))

    def state(self, name):
        return self.pool.accounts.state_of(name)

    def cool_down(self, name, seconds, reason=CooldownReason.QUOTA, scope=CHAT.key):
        self.pool.accounts.cool_down(self.state(name), scope, seconds, reason)

    async def once(self, want=CHAT, **ask):
        async with leasing(self.pool, LeaseRequest(requirement=want, **ask)) as lease:
            return lease.account.id

    async def hold(self, held, release, want=CHAT, **ask):
        async with leasing(self.pool, LeaseRequest(requirement=want, **ask)) as lease:
            held.append(lease.account.id)
            await release.wait()


async def test_a_lease_is_released_when_its_request_is_cancelled():
    harness, held = PoolHarness("a", concurrency=1), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(harness.hold, held, anyio.Event())
        await anyio.wait_all_tasks_blocked()
        assert (held, harness.state("a").in_flight) == (["a"], 1)
        tasks.cancel_scope.cancel()
    assert harness.state("a").in_flight == 0


async def test_waiting_requests_are_served_in_order_before_new_ones():
    harness, order = PoolHarness("a", concurrency=1, config={"queue_per_slot": 9}), []

    async def one(number):
        async with leasing(harness.pool, LeaseRequest(requirement=CHAT)):
            order.append(number)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        async with leasing(harness.pool, LeaseRequest(requirement=CHAT)):
            for number in range(5):
                tasks.start_soon(one, number)
                await anyio.wait_all_tasks_blocked()
        assert harness.state("a").in_flight == 1  # it is the first waiter's already
        await one("newcomer")
    assert order == [0, 1, 2, 3, 4, "newcomer"]
    assert (harness.observer.now_waiting, len(harness.observer.wait_seconds)) == (0, 6)


async def test_a_waiter_that_cannot_use_the_freed_account_does_not_block_others():
    harness, order = PoolHarness("a", "b", concurrency=1), []
    releases = {name: anyio.Event() for name in ("a", "b")}
    async with anyio.create_task_group() as tasks:
        for name, release in releases.items():
            tasks.start_soon(partial(harness.hold, order, release, only=name))
        await anyio.wait_all_tasks_blocked()
        over = anyio.Event()
        over.set()
        tasks.start_soon(partial(harness.hold, order, over, only="b"))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(harness.hold, order, over)
        await anyio.wait_all_tasks_blocked()
        releases["a"].set()
        await anyio.wait_all_tasks_blocked()
        assert order == ["a", "b", "a"]
        releases["b"].set()
    assert order == ["a", "b", "a", "b"]


async def test_all_of_many_waiters_are_served():
    harness, served = PoolHarness("a", "b", concurrency=2, config={"queue_timeout_seconds": 30.0}), []

    async def one():
        async with leasing(harness.pool, LeaseRequest(requirement=CHAT)) as lease:
            await anyio.lowlevel.checkpoint()
            served.append(lease.account.id)

    async with anyio.create_task_group() as tasks:
        for _ in range(11):
            tasks.start_soon(one)
    assert len(served) == 11
    assert [state.in_flight for state in harness.pool.states] == [0, 0]


async def test_a_waiter_cancelled_when_it_gets_an_account_passes_it_on():
    harness, held, release = PoolHarness("a", concurrency=1), [], anyio.Event()
    async with anyio.create_task_group() as tasks:
        async with leasing(harness.pool, LeaseRequest(requirement=CHAT)):
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(harness.hold, held, release)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(harness.hold, held, release)
                await anyio.wait_all_tasks_blocked()
                first = next(iter(harness.pool._queue))
                harness.pool._begin(harness.state("a"), first.request, 0.0)
                leaving.cancel_scope.cancel()
                harness.pool._queue.give(first, harness.state("a"))
            assert (held, len(harness.pool._queue)) == ([], 1)
        await anyio.wait_all_tasks_blocked()
        release.set()
    assert held == ["a"]
    assert harness.state("a").in_flight == 0


async def test_a_cooldown_of_all_accounts_is_an_error_with_a_retry_time():
    harness = PoolHarness("a", "b")
    harness.cool_down("a", 100)
    harness.cool_down("b", 40)
    with pytest.raises(RateLimited) as caught:
        await harness.once()
    assert caught.value.retry_after == 40


async def test_a_blocked_address_is_not_reported_as_a_usage_limit():
    harness = PoolHarness("a", "b")
    harness.pool.accounts.block_egress("", 600)
    harness.clock.advance(60)
    with pytest.raises(Blocked) as caught:
        await harness.once()
    assert caught.value.retry_after == 540


async def test_a_blocked_address_does_not_affect_accounts_with_another_egress():
    harness = PoolHarness("a", "b")
    harness.accounts = [harness.accounts[0], msgspec.structs.replace(harness.accounts[1], egress="http://p:1")]
    harness.pool.accounts.sync()
    harness.pool.accounts.block_egress("", 600)
    assert await harness.once() == "b"


async def test_the_limit_per_minute_is_not_reported_as_a_usage_limit():
    harness = PoolHarness("a", per_minute=1)
    await harness.once()
    harness.clock.advance(20)
    with pytest.raises(Throttled) as caught:
        await harness.once()
    assert (caught.value.code, caught.value.retry_after) == ("rate_limit_exceeded", 40)
    harness.clock.advance(40)
    assert await harness.once() == "a"


async def test_a_daily_limit_of_a_capability_is_a_usage_limit_of_that_capability_only():
    harness = PoolHarness("a", per_day={Capability.IMAGEN: 2})
    assert [await harness.once(IMAGE) for _ in range(2)] == ["a", "a"]
    with pytest.raises(RateLimited) as caught:
        await harness.once(IMAGE)
    assert (caught.value.code, caught.value.retry_after) == ("upstream_quota_exhausted", 43200)
    assert await harness.once() == "a"


async def test_a_request_waits_for_a_rate_limit_token():
    harness, held = PoolHarness("a", per_minute=30, concurrency=40), []
    over = anyio.Event()
    over.set()
    for _ in range(30):
        await harness.once()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(harness.pool.run)
        tasks.start_soon(harness.hold, held, over)
        await anyio.wait_all_tasks_blocked()
        assert held == []
        harness.clock.advance(2.0)
        await anyio.wait_all_tasks_blocked()
        assert held == ["a"]
        tasks.cancel_scope.cancel()


async def test_the_cooldown_that_ends_first_determines_the_error():
    harness = PoolHarness("a", "b")
    harness.cool_down("a", 3600)
    harness.cool_down("b", 30, CooldownReason.PACE)
    with pytest.raises(Throttled) as caught:
        await harness.once()
    assert caught.value.retry_after == 30


async def test_if_all_accounts_need_attention_the_operator_must_act():
    harness = PoolHarness("a")
    harness.pool.accounts.mark_needs_attention(harness.state("a"), "consent")
    with pytest.raises(SignedOut):
        await harness.once()


async def test_no_suitable_account_is_reported_as_signed_out():
    with pytest.raises(SignedOut):
        await PoolHarness("guest", kind=AccountKind.GUEST).once()


async def test_a_busy_pool_is_saturated_after_the_wait_or_at_the_requests_own_deadline():
    for config, until in (({"queue_timeout_seconds": 0.01}, {}), ({}, {"until": anyio.current_time() + 0.01})):
        harness = PoolHarness("a", concurrency=1, config=config)
        async with leasing(harness.pool, LeaseRequest(requirement=CHAT)):
            with pytest.raises(Saturated), anyio.fail_after(60):
                await harness.once(**until)
        assert harness.observer.now_waiting == 0


async def test_the_queue_is_bounded():
    harness, refused = PoolHarness("a", concurrency=1, config={"queue_timeout_seconds": 30.0}), []

    async def one():
        try:
            await harness.once()
        except Saturated as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        async with leasing(harness.pool, LeaseRequest(requirement=CHAT)):
            for _ in range(5):
                tasks.start_soon(one)
            await anyio.wait_all_tasks_blocked()
            assert len(refused) == 3


async def test_a_waiter_whose_account_needs_attention_meanwhile_fails_at_once():
    harness = PoolHarness("a", concurrency=1, config={"queue_timeout_seconds": 30.0})
    async with anyio.create_task_group() as tasks:

        async def wait():
            with pytest.raises(SignedOut), anyio.fail_after(60):
                await harness.once()

        async with leasing(harness.pool, LeaseRequest(requirement=CHAT)) as lease:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            harness.pool.accounts.mark_needs_attention(lease.state, "consent")


async def test_a_waiter_gets_an_account_that_is_added_or_has_cooled_down():
    harness, held, over = (
        PoolHarness("a", concurrency=1, config={"queue_timeout_seconds": 30.0, "queue_per_slot": 9}),
        [],
        anyio.Event(),
    )
    over.set()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(harness.pool.run)
        async with leasing(harness.pool, LeaseRequest(requirement=CHAT)):
            tasks.start_soon(harness.hold, held, over)
            await anyio.wait_all_tasks_blocked()
            harness.accounts = [*harness.accounts, Account(id="b", transport="t")]
            harness.clock.advance(1)
            await anyio.wait_all_tasks_blocked()
            assert held == ["b"]
            harness.cool_down("b", 10)
            tasks.start_soon(harness.hold, held, over)
            await anyio.wait_all_tasks_blocked()
            assert held == ["b"]
            harness.clock.advance(10)
            await anyio.wait_all_tasks_blocked()
            assert held == ["b", "b"]
        tasks.cancel_scope.cancel()


async def test_a_throttled_account_is_avoided_while_another_works():
    harness = PoolHarness("bad", "good")
    asked = []
    for _ in range(40):
        async with leasing(harness.pool, LeaseRequest(requirement=CHAT)) as lease:
            asked.append(lease.account.id)
            if lease.account.id == "good":
                harness.pool.accounts.mark_working(lease.state, CHAT)
            else:
                lease.state.throttle.fail(harness.clock.monotonic())
    assert asked.count("bad") == 6
    assert asked[-20:] == ["good"] * 20


async def test_the_only_account_is_still_probed_when_throttled():
    harness = PoolHarness("a")
    for _ in range(6):
        await harness.once()
        harness.state("a").throttle.fail(harness.clock.monotonic())
    with pytest.raises(Saturated) as caught:
        await harness.once()
    assert 1.0 <= caught.value.retry_after <= 5.0
    assert harness.observer.throttled_requests == 1
    harness.clock.advance(6)
    assert await harness.once() == "a"


async def test_ejected_accounts_are_used_if_all_are_ejected():
    harness = PoolHarness("a", "b")
    harness.cool_down("a", 30, CooldownReason.ERRORS, EVERYTHING)
    assert await harness.once() == "b"
    harness.cool_down("b", 30, CooldownReason.ERRORS, EVERYTHING)
    assert await harness.once() in {"a", "b"}


async def test_a_removed_account_gets_no_new_lease_and_finishes_its_requests():
    harness = PoolHarness("a", "b")
    async with leasing(harness.pool, LeaseRequest(requirement=CHAT, only="a")) as lease:
        harness.accounts = harness.accounts[1:]
        assert [await harness.once() for _ in range(2)] == ["b", "b"]
        assert (lease.state.retired, harness.pool.accounts.loads()["a"].in_flight) == (True, 1)
    harness.pool.accounts.tick()
    assert list(harness.pool.accounts.loads()) == ["b"]


async def test_a_changed_account_keeps_its_state():
    harness = PoolHarness("a", concurrency=1)
    harness.cool_down("a", 100, scope=FREE.key)
    async with leasing(harness.pool, LeaseRequest(requirement=CHAT)):
        harness.accounts = [msgspec.structs.replace(harness.accounts[0], concurrency=3)]
        async with leasing(harness.pool, LeaseRequest(requirement=CHAT)):
            assert harness.state("a").in_flight == 2
        with pytest.raises(RateLimited):
            await harness.once(FREE)


async def test_account_statuses_are_reported_only_when_they_change():
    harness = PoolHarness("a", "b", capabilities=frozenset({Capability.CHAT}))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(harness.pool.run)
        await harness.clock.until_asleep()
        harness.clock.advance(1)
        await harness.clock.until_asleep()
        harness.cool_down("b", 10, scope=EVERYTHING)
        harness.clock.advance(1)
        await harness.clock.until_asleep()
        tasks.cancel_scope.cancel()
    assert [dict(stats.by_status) for stats in harness.observer.stats] == [
        {("session", "chat", "ready"): 2},
        {("session", "chat", "ready"): 1, ("session", "chat", "cooling_down"): 1},
    ]


async def test_a_stopped_clock_delays_no_request():
    harness = PoolHarness("a", clock=ManualClock())
    with anyio.fail_after(60):
        assert await harness.once() == "a"


DEAD = AttentionRecord(reason="consent", message="", at=0.0)


def first():
    return 0.0


def states(*names, **fields):
    return [AccountState(Account(id=name, transport="t", **fields)) for name in names]


def asked(among, want, now, tried=(), home=None, rng=first):
    guests = [state for state in among if state.account.guest]
    return choose(among, want, now, guests=guests, tried=frozenset(tried), home=home, rng=rng)


def test_the_less_loaded_then_the_longer_idle_of_two_is_chosen():
    a, b, c = states("a", "b", "c")
    a.begin(CHAT, 1.0)
    b.begin(CHAT, 2.0)
    b.end(CHAT)
    assert asked([a, b, c], CHAT, 3.0) is b
    assert asked([c, b, a], CHAT, 3.0) is c
    c.begin(CHAT, 3.0)
    c.end(CHAT)
    assert asked([c, b, a], CHAT, 3.0) is b


def test_the_random_numbers_decide_which_two_are_compared():
    among = states("a", "b", "c", "d")
    seen = {asked(among, CHAT, 0.0, rng=random.Random(seed).random).account.id for seed in range(50)}
    assert seen == {"a", "b", "c", "d"}


def test_tried_cooling_busy_and_paused_accounts_are_skipped():
    tried, cooling, busy, paused, fit = states("tried", "cooling", "busy", "paused", "fit", concurrency=1)
    cooling.cool_down(99.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    busy.begin(CHAT, 0.0)
    paused.paused = PauseRecord(by="me", at=0.0)
    assert asked([tried, cooling, busy, paused, fit], CHAT, 1.0, {"tried"}) is fit
    assert asked([tried, cooling, busy, paused], CHAT, 1.0, {"tried"}) is None


def test_an_account_that_needs_attention_comes_last():
    dead, fit = states("dead", "fit")
    dead.mark_needs_attention(DEAD, 0.0)
    assert asked([dead, fit], CHAT, 100.0) is fit
    assert asked([dead], CHAT, 100.0) is dead
    assert asked([dead], CHAT, 10.0) is None
    assert asked([dead, fit], CHAT, 100.0, home=dead) is fit


def test_an_account_that_needs_attention_is_chosen_normally_with_a_new_credential():
    credential = "1"
    (dead,) = states("dead", facts=lambda: Facts(credential=credential))
    (busier,) = states("busier")
    dead.mark_needs_attention(DEAD, 0.0)
    busier.begin(CHAT, 0.0)
    credential = "2"
    assert asked([dead, busier], CHAT, 1.0) is dead


def test_the_home_account_of_a_request_is_chosen_first():
    a, b, c = states("a", "b", "c")
    c.begin(CHAT, 0.0)
    assert asked([a, b, c], CHAT, 1.0, home=c) is c
    assert asked([a, b, c], CHAT, 1.0, {"c"}, home=c) is a


def test_a_guest_is_chosen_first_if_it_supports_the_request():
    (account,) = states("account")
    (guest,) = states("guest", kind=AccountKind.GUEST)
    guest.begin(FREE, 0.0)
    assert asked([account, guest], FREE, 0.0) is guest
    assert asked([account, guest], CHAT, 0.0) is account


def test_the_next_free_time_ignores_accounts_that_need_attention():
    a, b, dead = states("a", "b", "dead")
    a.cool_down(50.0, CHAT.key, CooldownReason.PACE, 0.0)
    b.cool_down(30.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    dead.mark_needs_attention(DEAD, 0.0)
    assert next_free([a, b, dead], CHAT, 10.0) == Cooldown(30.0, CooldownReason.QUOTA)
    assert next_free([dead], CHAT, 10.0) is None


@given(
    carried=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    tried=st.sets(st.integers(0, 7)),
    seed=st.integers(0, 2**16),
)
def test_choose_returns_a_usable_account_if_there_is_one(carried, tried, seed):
    among = states(*map(str, range(len(carried))), concurrency=5)
    for state, count in zip(among, carried, strict=True):
        for _ in range(count):
            state.begin(CHAT, 0.0)
    fit = [state for state in among if state.in_flight < 5 and int(state.account.id) not in tried]
    chosen = asked(among, CHAT, 1.0, {str(number) for number in tried}, rng=random.Random(seed).random)
    assert (chosen is None) == (not fit)
    assert chosen is None or chosen in fit
    if len(fit) > 1:
        assert (
            chosen.in_flight < max(state.in_flight for state in fit)
            or len({s.in_flight for s in fit}) == 1
            or (sorted(state.in_flight for state in fit)[-2] == chosen.in_flight)
        )
