"""Which license waits how long, with how many requests, and for which accounts."""

from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from protocol.model import Capability, Saturated, Throttled
from tests.clock import ManualClock
from tests.pools import GatewayProcess, leasing, pool_of
from transports.account import Account, AccountKind
from transports.accounts import LeaseRequest, Requirement
from transports.store import MemoryStore

pytestmark = pytest.mark.anyio
PRO = Requirement(family="pro", capability=Capability.CHAT, guest=False)
FLASH = Requirement(family="flash", capability=Capability.CHAT, guest=True)


class Crowd:
    """Requests of several licenses that hold an account until `release` is called."""

    def __init__(self, pool, tasks):
        self.pool, self._tasks = pool, tasks
        self.holding, self.refused, self.scopes = [], Counter(), []

    async def come(self, license_id, count=1, want=PRO, **ask):
        for _ in range(count):
            self._tasks.start_soon(self._one, LeaseRequest(requirement=want, license=license_id, **ask))
        await anyio.wait_all_tasks_blocked()

    async def release(self, count=1, license_id=None, name=None):
        """End the oldest requests that hold an account, of all licenses and accounts or of one."""
        for _ in range(count):
            one = next(one for one in self.holding if license_id in {None, one[0].license} and name in {None, one[2]})
            self.holding.remove(one)
            one[1].set()
            await anyio.wait_all_tasks_blocked()

    async def leave(self, license_id):
        """Let the clients of a license go, whether they wait or not."""
        for ask, scope in self.scopes:
            if ask.license == license_id:
                scope.cancel()
        await anyio.wait_all_tasks_blocked()

    def held(self, want=PRO):
        return Counter(ask.license for ask, *_ in self.holding if ask.requirement == want)

    async def _one(self, ask):
        release = anyio.Event()
        with anyio.CancelScope() as scope:
            self.scopes.append((ask, scope))
            try:
                async with leasing(self.pool, ask) as lease:
                    self.holding.append((ask, release, lease.account.id))
                    await release.wait()
            except (Saturated, Throttled):
                self.refused[ask.license] += 1


def account(name, slots=5, **more):
    return Account(id=name, transport="t", concurrency=slots, **more)


@asynccontextmanager
async def crowd_at(*accounts, **config):
    pool = pool_of(list(accounts), **{"queue_timeout_seconds": 30.0, **config})
    async with anyio.create_task_group() as tasks:
        yield Crowd(pool, tasks)
        tasks.cancel_scope.cancel()


async def test_one_license_uses_all_slots_if_no_other_waits():
    async with crowd_at(account("a", 5), account("b", 5)) as crowd:
        await crowd.come("slow", 10)
        assert crowd.held() == {"slow": 10}
        assert not crowd.refused


@pytest.mark.parametrize(
    ("accounts", "most"),
    [((5, 5), 8), ((5,), 4), ((2, 2), 3), ((3,), 3), ((1, 1), 2), ((1,), 1), ((20, 20), 30)],
)
async def test_one_of_several_licenses_leaves_a_quarter_of_the_slots_free(accounts, most):
    pools = [account(str(number), slots) for number, slots in enumerate(accounts)]
    async with crowd_at(*pools, licenses=lambda: 2) as crowd:
        await crowd.come("slow", 60)
        assert crowd.held() == {"slow": most}
        for _ in range(3):
            await crowd.come("other", sum(accounts) - most)
            assert crowd.held()["other"] == sum(accounts) - most
            await crowd.release(sum(accounts) - most, "other")
            assert crowd.held() == {"slow": most}


async def test_the_slots_of_a_license_that_ends_go_to_the_others():
    several = 2
    async with crowd_at(account("a", 5), account("b", 5), licenses=lambda: several) as crowd:
        await crowd.come("slow", 20)
        several = 1
        await crowd.release(1)
        await crowd.come("slow", 3)
        assert crowd.held() == {"slow": 10}


async def test_a_license_may_have_what_the_others_leave():
    async with crowd_at(account("a", 5), account("b", 5), licenses=lambda: 3) as crowd:
        await crowd.come("one", 20)
        await crowd.come("two", 3)
        assert crowd.held() == {"one": 8, "two": 2}
        await crowd.release(8, "one")
        assert crowd.held() == {"one": 6, "two": 3}
        await crowd.come("three", 3)
        assert crowd.held() == {"one": 6, "two": 3, "three": 1}
        await crowd.release(2, "one")
        assert crowd.held() == {"one": 4, "two": 3, "three": 3}


async def test_a_second_license_gets_the_next_free_slot():
    async with crowd_at(account("a", 5), account("b", 5)) as crowd:
        await crowd.come("slow", 40)
        assert crowd.refused == {"slow": 10}  # ten hold a slot, twenty wait
        for _ in range(20):
            await crowd.come("other")
            await crowd.release()
            assert crowd.held()["other"] == 1
            await crowd.release(1, "other")
            await crowd.come("slow", 2)
        assert crowd.refused["other"] == 0


async def test_waiting_licenses_get_equal_shares():
    async with crowd_at(account("a", 6), account("b", 6)) as crowd:
        await crowd.come("one", 36)
        await crowd.come("two", 36)
        await crowd.come("three", 36)
        await crowd.release(12)
        assert crowd.held() == {"one": 4, "two": 4, "three": 4}


async def test_licenses_get_what_they_request_up_to_equal_shares():
    async with crowd_at(account("a", 5), account("b", 5)) as crowd:
        await crowd.come("greedy", 30)
        await crowd.come("middle", 6)
        await crowd.come("small", 1)
        await crowd.release(10)
        held = crowd.held()
        assert held["small"] == 1
        assert sorted((held["greedy"], held["middle"])) == [4, 5]
        assert not crowd.refused["middle"] + crowd.refused["small"]


async def test_cancelled_waiting_requests_keep_no_share_for_their_license():
    async with crowd_at(account("a", 4)) as crowd:
        await crowd.come("one", 8)
        async with anyio.create_task_group() as clients:
            leaving = Crowd(crowd.pool, clients)
            await leaving.come("gone", 4)
            clients.cancel_scope.cancel()
        await crowd.release(4)
        assert crowd.held() == {"one": 4}


async def test_a_license_can_fill_only_its_share_of_the_queue():
    async with crowd_at(account("a", 4)) as crowd:
        await crowd.come("one", 4 + 8)
        await crowd.come("two", 7)  # half of the queue is four; it lacks two slots of its share
        await crowd.come("three", 5)  # a third of the queue is three, rounded up; it lacks one slot and a third
        assert crowd.refused == {"two": 1, "three": 1}
        await crowd.come("one", 1)
        assert crowd.refused["one"] == 1


async def test_a_license_gets_its_share_though_another_fills_slots_and_queue():
    async with crowd_at(account("a"), account("b")) as crowd:
        await crowd.come("slow", 40)
        await crowd.come("other", 15)
        assert crowd.refused == {"slow": 10}
        await crowd.come("other")
        assert crowd.refused["other"] == 1


async def test_each_license_can_queue_at_least_one_request():
    async with crowd_at(account("a", 1)) as crowd:
        for number in range(30):
            await crowd.come(str(number), 1)
        assert not crowd.refused


async def test_without_a_queue_a_request_waits_only_for_a_slot_its_license_is_owed():
    async with crowd_at(account("a", 4), queue_per_slot=0.0) as crowd:
        await crowd.come("slow", 5)
        await crowd.come("other", 3)
        assert crowd.refused == {"slow": 1, "other": 1}


async def test_unavailable_accounts_do_not_lengthen_the_queue():
    chat_only = account("c", 5, capabilities=frozenset({Capability.CHAT}))
    picture = Requirement(family="pro", capability=Capability.IMAGEN, guest=False)
    async with crowd_at(account("a", 1), chat_only, account("guest", 5, kind=AccountKind.GUEST)) as crowd:
        await crowd.come("one", 5, want=picture)
        assert (crowd.held(picture)["one"], crowd.refused["one"]) == (1, 2)


async def test_an_account_in_cooldown_or_slow_start_does_not_lengthen_the_queue():
    async with crowd_at(account("a", 1), account("b"), queue_timeout_seconds=5.0) as crowd:
        crowd.pool.accounts.cool_down(crowd.pool.accounts.state_of("b"), PRO.key, 60.0, "quota")
        await crowd.come("one", 5)
        assert (crowd.held()["one"], crowd.refused["one"]) == (1, 2)


async def test_slots_of_guest_accounts_do_not_delay_a_request_that_no_guest_can_serve():
    async with crowd_at(account("a", 2), account("guest", 6, kind=AccountKind.GUEST)) as crowd:
        await crowd.come("both", 6, want=FLASH)
        await crowd.come("pro", 2)
        await crowd.come("pro", 2)
        await crowd.come("both", 2)
        await crowd.release(1, "pro")
        assert crowd.held() == {"pro": 1, "both": 1}


async def test_a_guest_request_does_not_delay_an_account_request_of_its_license():
    async with crowd_at(account("a", 2), account("guest", 6, kind=AccountKind.GUEST)) as crowd:
        await crowd.come("both", 6, want=FLASH)
        await crowd.come("pro", 2)
        await crowd.come("both", 3, want=FLASH)
        await crowd.come("both", 1)
        await crowd.come("pro", 1)
        await crowd.release(1, "pro")
        assert crowd.held() == {"pro": 1, "both": 1}


async def test_only_a_license_that_is_owed_a_slot_waits_longer():
    async with crowd_at(account("a", 2), queue_timeout_seconds=0.01, fair_queue_timeout_seconds=30.0) as crowd:
        await crowd.come("slow", 2)
        await crowd.come("other")
        while crowd.refused["slow"] < 3:
            await crowd.come("slow")
            await anyio.sleep(0.001)
        assert not crowd.refused["other"]
        await crowd.release(1, "slow")
        assert crowd.held() == {"slow": 1, "other": 1}


@pytest.mark.parametrize("bound", [{"fair_queue_timeout_seconds": 0.02}, {"until": 0.02}])
async def test_the_wait_for_an_owed_slot_is_limited(bound):
    until = bound.pop("until", None)
    async with crowd_at(account("a", 2), **{"queue_timeout_seconds": 0.01, **bound}) as crowd:
        await crowd.come("slow", 2)
        with pytest.raises(Saturated), anyio.fail_after(60):
            more = {} if until is None else {"until": anyio.current_time() + until}
            await crowd.pool.lease(LeaseRequest(requirement=PRO, license="other", **more))


async def test_a_process_waits_longer_for_slots_that_another_process_owes_it():
    clock = ManualClock()
    store, accounts = MemoryStore(clock), [account("a", 4)]
    config = {"queue_timeout_seconds": 0.01, "fair_queue_timeout_seconds": 30.0}
    async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        crowds = []
        for name in ("one", "two"):
            process = GatewayProcess(clock, store, name=name, shared=True, processes=2)
            await stack.enter_async_context(process.limits.open())
            crowds.append(Crowd(process.pool(lambda: accounts, **config), tasks))
            tasks.start_soon(crowds[-1].pool.run)
        first, second = crowds
        await first.come("slow", 4)
        await second.come("other", 2)
        while first.refused["slow"] < 3:
            await first.come("slow")
            await anyio.sleep(0.001)
        assert not second.refused
        while first.pool._queue:
            await anyio.sleep(0.001)
        await first.release(2)
        while second.held() != {"other": 2}:
            clock.advance(0.25)
            await anyio.wait_all_tasks_blocked()
        await second.come("other")
        while not second.refused:  # it has its part
            await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()


async def test_a_license_with_its_share_does_not_wait_longer_than_others():
    async with crowd_at(account("a", 2), queue_timeout_seconds=0.01, fair_queue_timeout_seconds=30.0) as crowd:
        await crowd.come("slow", 1)
        await crowd.come("other", 1)
        with pytest.raises(Saturated), anyio.fail_after(60):
            await crowd.pool.lease(LeaseRequest(requirement=PRO, license="other"))


async def test_disconnected_clients_free_their_queue_places():
    async with crowd_at(account("a", 4)) as crowd:
        await crowd.come("slow", 4)
        await crowd.come("gone", 6)
        await crowd.leave("gone")
        await crowd.come("slow", 8)
        assert not crowd.refused
        await crowd.release(4, "slow")
        assert crowd.held() == {"slow": 4}


async def test_a_request_in_failover_queues_for_a_remaining_account():
    async with crowd_at(account("a", 2), account("b", 2)) as crowd:
        await crowd.come("slow", 4)
        await crowd.come("slow", 1)
        await crowd.come("other", 1, tried=frozenset({"a"}))
        await crowd.release(name="a")
        assert crowd.held() == {"slow": 4}  # the one that waited has the account that the other has tried
        await crowd.release(name="b")
        assert crowd.held() == {"slow": 3, "other": 1}


async def test_a_license_leaves_slots_free_over_all_processes():
    clock, accounts = ManualClock(), [account("a", 5), account("b", 5)]
    store = MemoryStore(clock)
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(anyio.create_task_group())
        crowds = []
        for name in ("one", "two", "three"):
            process = GatewayProcess(clock, store, name=name, shared=True, processes=3)
            await stack.enter_async_context(process.limits.open())
            crowds.append(Crowd(process.pool(lambda: accounts, licenses=lambda: 2, queue_timeout_seconds=30.0), tasks))
        for _ in range(10):
            for crowd in crowds:
                await crowd.come("slow")
        assert sum(crowd.held()["slow"] for crowd in crowds) == 8
        await crowds[2].come("slow", 3)
        for crowd in crowds:
            await crowd.come("other")
            assert crowd.held()["other"] == 1
            await crowd.release(1, "other")
            clock.advance(1)
            await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


async def test_a_license_that_asks_all_the_time_does_not_take_every_request_of_a_minute():
    async with crowd_at(account("a", 50, per_minute=6), queue_timeout_seconds=5.0) as crowd:
        pool, clock = crowd.pool, crowd.pool._clock
        await crowd.come("hammer", 6)
        for count in range(1, 4):
            with pytest.raises(Throttled):  # the next token is ten seconds away
                await pool.lease(LeaseRequest(requirement=PRO, license="hammer"))
            await crowd.come("other")
            clock.advance(6)
            await crowd.come("hammer", 10)
            clock.advance(4.1)
            await crowd.come("hammer", 10)
            pool._tick()
            await anyio.wait_all_tasks_blocked()
            assert crowd.held() == {"hammer": 6, "other": count}


async def test_the_requests_of_a_minute_are_shared_equally():
    async with crowd_at(account("a", 50, per_minute=6)) as crowd:
        await crowd.come("one", 20)
        await crowd.come("two", 20)
        for _ in range(18):
            crowd.pool._clock.advance(10.1)
            crowd.pool._tick()
            await anyio.wait_all_tasks_blocked()
        held = crowd.held()
        assert held["one"] + held["two"] == 24
        assert abs(held["one"] - held["two"]) <= 1
