from contextlib import asynccontextmanager

import anyio
import pytest
from msgspec.structs import replace

from protocol.model import Capability
from tests.clock import ManualClock
from tests.pools import GatewayProcess
from transports.account import Account, Facts, Quota
from transports.accounts import CooldownReason, Requirement
from transports.accounts.availability import EVERYTHING
from transports.accounts.registry import AccountRegistry
from transports.observer import ELSEWHERE
from transports.store import MemoryStore, StoreDown
from transports.store.port import ACTIONS, ATTENTION, COOLDOWNS, PAUSES

CHAT = Requirement(family="pro", capability=Capability.CHAT, guest=False)
SCOPE = CHAT.key


class Shaky(MemoryStore):
    """A store that can be out of order, or come back as another that knows nothing."""

    down, server = False, "1"

    async def put(self, *args, **kwargs):
        self._fail()
        return await super().put(*args, **kwargs)

    async def get(self, *args, **kwargs):
        self._fail()
        return await super().get(*args, **kwargs)

    async def remove(self, *args, **kwargs):
        self._fail()
        return await super().remove(*args, **kwargs)

    async def revisions(self):
        self._fail()
        return await super().revisions()

    async def epoch(self):
        return self.server

    def _fail(self):
        if self.down:
            raise StoreDown("down")

    async def forget_all(self):
        for place in (ATTENTION, PAUSES, COOLDOWNS):
            for key in await self.keys(place):
                await self.remove(place, key)
        self.server = "2"


class Process:
    """A process that runs, with one pool of the accounts a and b."""

    def __init__(self, store, clock, name, facts=Facts):
        self.process = GatewayProcess(clock, store, name=name)
        self.accounts = [Account(id=account, transport="t", concurrency=4, facts=facts) for account in "ab"]
        self.pool = self.process.pool(lambda: self.accounts)
        self.known = self.pool.accounts
        self.observer = self.process.observer

    def state(self, name="a"):
        return self.known.state_of(name)

    async def look(self):
        await self.process.change_feed.poll()


class Cluster:
    def __init__(self):
        self.clock = ManualClock()
        self.store = Shaky(self.clock)
        self.registry = AccountRegistry(self.store, self.clock)
        self.one, self.other = (Process(self.store, self.clock, name) for name in ("one", "other"))

    async def settle(self):
        """Exchange all changes between the processes."""
        for _ in range(2):
            await anyio.wait_all_tasks_blocked()
            await self.one.look()
            await self.other.look()
        await anyio.wait_all_tasks_blocked()


@asynccontextmanager
async def open_cluster():
    cluster = Cluster()
    async with cluster.one.process.shared_state.open(), cluster.other.process.shared_state.open():
        await cluster.settle()
        yield cluster


@pytest.fixture
async def cluster():
    async with open_cluster() as one:
        yield one


async def test_account_state_is_shared_with_all_processes(cluster):
    cluster.one.known.mark_needs_attention(cluster.one.state(), "consent", "Sign in again.")
    cluster.one.known.cool_down(cluster.one.state("b"), SCOPE, 100.0, CooldownReason.QUOTA)
    await cluster.settle()
    attention = cluster.other.state().attention
    assert (attention.reason, attention.message) == ("consent", "Sign in again.")
    assert cluster.other.state("b").available_at(CHAT, cluster.clock.monotonic()) == cluster.clock.monotonic() + 100
    assert cluster.other.state("b").failures(SCOPE, CooldownReason.QUOTA, cluster.clock.monotonic() + 101) == 1


async def test_each_process_reports_a_change_once_with_its_origin(cluster):
    cluster.one.known.mark_needs_attention(cluster.one.state(), "consent")
    cluster.one.known.mark_needs_attention(cluster.one.state(), "consent")
    cluster.one.known.cool_down(cluster.one.state("b"), SCOPE, 100.0, CooldownReason.QUOTA)
    cluster.one.known.cool_down(cluster.one.state("b"), SCOPE, 90.0, CooldownReason.QUOTA)
    await cluster.settle()
    await cluster.settle()
    changes = [(change.event, change.account, change.scope, change.by) for change in cluster.one.observer.changes]
    assert changes == [("needs_attention", "a", "", ""), ("cooldown_started", "b", "pro/chat", "")]
    changes = [(change.event, change.account, change.scope, change.by) for change in cluster.other.observer.changes]
    assert changes == [("needs_attention", "a", "", ELSEWHERE), ("cooldown_started", "b", "pro/chat", ELSEWHERE)]


async def test_a_resume_ends_attention_pause_and_cooldown_in_all_processes(cluster):
    cluster.one.known.mark_needs_attention(cluster.one.state(), "consent")
    cluster.one.known.cool_down(cluster.one.state(), SCOPE, 100.0, CooldownReason.QUOTA)
    await cluster.registry.pause("a", by="ops", reason="holiday")
    await cluster.settle()
    for process in (cluster.one, cluster.other):
        assert process.state().paused.by == "ops"
        assert not process.state().ready(CHAT, cluster.clock.monotonic())
        assert ("paused", "a") in process.observer.pop_events()
    await cluster.registry.resume("a", by="boss")
    await cluster.settle()
    for process in (cluster.one, cluster.other):
        state = process.state()
        assert (state.paused, state.attention, state.cooldowns) == (None, None, {})
        ended = [change for change in process.observer.changes if change.event in {"resumed", "cooldown_ended"}]
        assert [change.by for change in ended] == ["boss"] * 3
        assert state.ready(CHAT, cluster.clock.monotonic())
        assert sorted(process.observer.pop_events()) == [("cooldown_ended", "a"), ("resumed", "a"), ("resumed", "a")]


async def test_a_recovery_is_shared_with_all_processes(cluster):
    cluster.one.known.mark_needs_attention(cluster.one.state(), "consent")
    await cluster.settle()
    assert cluster.other.known.mark_working(cluster.other.state(), CHAT)
    await cluster.settle()
    assert cluster.one.state().attention is None
    assert await cluster.store.keys(ATTENTION) == []


async def test_changes_during_an_outage_are_shared_after_it(cluster):
    cluster.store.down = True
    cluster.one.known.mark_needs_attention(cluster.one.state(), "consent")
    cluster.one.known.cool_down(cluster.one.state("b"), SCOPE, 100.0, CooldownReason.QUOTA)
    await cluster.settle()
    assert cluster.one.state().attention is not None
    assert cluster.other.state().attention is None
    cluster.store.down = False
    cluster.clock.advance(1)
    await cluster.settle()
    assert cluster.other.state().attention is not None
    assert cluster.other.state("b").available_at(CHAT, 0.0) == cluster.clock.monotonic() + 99


async def test_the_longer_of_two_cooldowns_wins_in_either_order(cluster):
    cluster.store.down = True
    cluster.one.known.cool_down(cluster.one.state(), SCOPE, 50.0, CooldownReason.QUOTA)
    cluster.other.known.cool_down(cluster.other.state(), SCOPE, 500.0, CooldownReason.QUOTA)
    cluster.store.down = False
    await anyio.wait_all_tasks_blocked()
    cluster.clock.advance(1)
    await cluster.settle()
    assert [process.state().cooldowns[SCOPE].until for process in (cluster.one, cluster.other)] == [
        cluster.clock.monotonic() + 499
    ] * 2


async def test_an_unshared_ended_cooldown_does_not_end_a_longer_one(cluster):
    cluster.store.down = True
    cluster.one.known.cool_down(cluster.one.state(), SCOPE, 5.0, CooldownReason.QUOTA)
    await anyio.wait_all_tasks_blocked()
    cluster.store.down = False
    cluster.other.known.cool_down(cluster.other.state(), SCOPE, 500.0, CooldownReason.QUOTA)
    await anyio.wait_all_tasks_blocked()
    cluster.store.down = True
    cluster.clock.advance(6)
    cluster.one.process.shared_state.notify(cluster.one.known)
    await anyio.wait_all_tasks_blocked()
    cluster.store.down = False
    cluster.clock.advance(1)
    await cluster.settle()
    assert [process.state().cooldowns[SCOPE].until for process in (cluster.one, cluster.other)] == [
        cluster.clock.monotonic() + 493
    ] * 2


async def test_account_state_is_written_again_to_an_emptied_store(cluster):
    cluster.one.known.mark_needs_attention(cluster.one.state(), "consent")
    cluster.one.known.cool_down(cluster.one.state("b"), SCOPE, 100.0, CooldownReason.QUOTA)
    await cluster.registry.pause("b", by="ops")
    await cluster.settle()
    await cluster.store.forget_all()
    await cluster.settle()
    assert await cluster.store.keys(ATTENTION) == ["a"]
    assert await cluster.store.keys(PAUSES) == ["b"]
    assert await cluster.store.keys(COOLDOWNS) == ["b/pro/chat"]
    assert cluster.one.state().attention is not None


async def test_each_process_reports_the_end_of_a_cooldown_once(cluster):
    cluster.one.known.cool_down(cluster.one.state(), SCOPE, 100.0, CooldownReason.QUOTA)
    await cluster.settle()
    cluster.clock.advance(100)
    for process in (cluster.one, cluster.other):
        process.known.tick()
        process.known.tick()
    await cluster.settle()
    assert cluster.one.observer.pop_events() == [("cooldown_started", "a"), ("cooldown_ended", "a")]
    assert cluster.other.observer.pop_events() == [("cooldown_started", "a"), ("cooldown_ended", "a")]
    assert cluster.other.state().allowed(CHAT) == 1


async def test_a_blocked_address_applies_to_all_processes_and_to_added_accounts(cluster):
    cluster.one.known.block_egress("", 600.0)
    await cluster.settle()
    now = cluster.clock.monotonic()
    assert [state.available_at(CHAT, now) for state in cluster.other.pool.states] == [now + 600] * 2
    cluster.other.accounts = [*cluster.other.accounts, Account(id="c", transport="t")]
    cluster.other.known.sync()
    assert cluster.other.state("c").available_at(CHAT, now) == now + 600
    assert [change.by for change in cluster.one.observer.changes] == ["", ""]
    assert cluster.one.observer.pop_events() == [("cooldown_started", "a"), ("cooldown_started", "b")]


async def test_an_unreadable_record_changes_nothing(cluster):
    cluster.one.known.mark_needs_attention(cluster.one.state(), "consent")
    await cluster.settle()
    await cluster.store.put(ATTENTION, "b", b"not json")
    await cluster.settle()
    assert cluster.other.state().attention is not None


async def test_an_unreadable_action_does_not_block_other_records(cluster):
    await cluster.store.put(ACTIONS, "a/removed", b"not json")
    cluster.one.known.mark_needs_attention(cluster.one.state(), "consent")
    await cluster.settle()
    assert cluster.other.state().attention is not None


async def test_needs_attention_does_not_apply_to_another_credential():
    clock = ManualClock()
    store = MemoryStore(clock)
    old, new, same = (
        Process(store, clock, name, lambda credential=credential: Facts(credential=credential))
        for name, credential in (("old", "a"), ("new", "b"), ("same", "a"))
    )
    async with old.process.shared_state.open():
        old.known.mark_needs_attention(old.state(), "consent")
    for process in (new, same):
        await process.look()
        assert process.state().attention is not None
    assert new.state().ready(CHAT, clock.monotonic())
    assert not same.state().ready(CHAT, clock.monotonic())


async def test_pending_changes_are_written_at_shutdown():
    async with open_cluster() as cluster:
        cluster.one.known.mark_needs_attention(cluster.one.state(), "consent")
    assert await cluster.store.keys(ATTENTION) == ["a"]


async def test_five_consecutive_failures_eject_an_account_unless_it_is_the_last(cluster):
    known, state = cluster.one.known, cluster.one.state()
    waits = []
    for _ in range(3):
        assert [known.count_failure(state) for _ in range(5)] == [False] * 4 + [True]
        waits.append(state.cooldowns[EVERYTHING].until - cluster.clock.monotonic())
        assert not any(known.count_failure(cluster.one.state("b")) for _ in range(20))
        cluster.clock.advance(waits[-1])
        known.tick()
    assert waits == [30.0, 60.0, 90.0]
    state.finish(cluster.clock.monotonic())
    for _ in range(5):
        known.count_failure(state)
    assert state.cooldowns[EVERYTHING].until == cluster.clock.monotonic() + 30


async def test_a_single_account_is_never_ejected():
    process = GatewayProcess()
    known = process.pool(lambda: alone).accounts
    assert not any(known.count_failure(known.states[0]) for _ in range(50))


alone = [Account(id="a", transport="t")]


async def test_an_exhausted_quota_is_a_cooldown_until_it_is_available_again():
    clock = ManualClock()
    quotas = (
        Quota(name="pro", family="pro", total=10, remaining=0, resets_at=clock.wall() + 500),
        Quota(name="other", total=1, remaining=0),
    )
    process = Process(MemoryStore(clock), clock, "one", lambda: Facts(quotas=quotas))
    process.known.tick()
    process.known.tick()
    state, flash = process.state(), Requirement(family="flash", capability=Capability.CHAT, guest=False)
    assert state.available_at(CHAT, clock.monotonic()) == clock.monotonic() + 500
    assert state.available_at(flash, clock.monotonic()) == clock.monotonic()
    quotas = (Quota(name="pro", family="pro", total=10, remaining=7, resets_at=clock.wall() + 500),)
    process.known.tick()
    assert state.available_at(CHAT, clock.monotonic()) == clock.monotonic()
    assert process.observer.pop_events() == [
        ("cooldown_started", "a"),
        ("cooldown_started", "b"),
        ("cooldown_ended", "a"),
        ("cooldown_ended", "b"),
    ]


async def test_an_unlimited_quota_is_never_exhausted():
    clock = ManualClock()
    unlimited = Quota(name="pro", family="pro", total=0, remaining=0, resets_at=clock.wall() + 500)
    quotas = (unlimited, Quota(name="5h", total=10, remaining=0, resets_at=clock.wall() + 500))
    process = Process(MemoryStore(clock), clock, "one", lambda: Facts(quotas=quotas))
    process.known.tick()
    assert process.state().cooldowns == {}
    quotas = (Quota(name="pro", family="pro", total=10, remaining=0, resets_at=clock.wall() + 500),)
    process.known.tick()
    assert process.state().cooldowns
    quotas = (unlimited,)
    process.known.tick()
    assert process.state().cooldowns == {}


async def test_an_older_quota_does_not_override_another_process_or_an_operator(cluster):
    wall = cluster.clock.wall()
    left = dict.fromkeys(["one", "other"], 5)
    for name, process in (("one", cluster.one), ("other", cluster.other)):

        def facts(name=name):
            return Facts(
                quotas=(Quota(name="pro", family="pro", total=10, remaining=left[name], resets_at=wall + 500),)
            )

        process.accounts = [replace(account, facts=facts) for account in process.accounts]
        process.known.tick()
    left["one"] = 0
    for _ in range(3):
        cluster.one.known.tick()
        cluster.other.known.tick()
        await cluster.settle()
    scope = ("pro", None)
    assert [process.state().cooldowns[scope].until for process in (cluster.one, cluster.other)] == [
        cluster.clock.monotonic() + 500
    ] * 2
    cooldowns = [event for event, _ in cluster.one.observer.pop_events() if event.startswith("cooldown_")]
    assert cooldowns == ["cooldown_started", "cooldown_started"]
    await cluster.registry.resume("a", by="boss")
    await cluster.settle()
    cluster.one.known.tick()
    assert [process.state().cooldowns for process in (cluster.one, cluster.other)] == [{}, {}]


async def test_a_quota_reset_is_at_most_one_day_away():
    clock = ManualClock()
    facts = Facts(quotas=(Quota(name="pro", family="pro", total=10, remaining=0, resets_at=clock.wall() + 1e9),))
    process = Process(MemoryStore(clock), clock, "one", lambda: facts)
    process.known.tick()
    assert process.state().available_at(CHAT, clock.monotonic()) == clock.monotonic() + 86400
