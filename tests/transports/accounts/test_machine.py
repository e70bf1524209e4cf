"""Pools of two processes on one store that fails, against rules that must hold after each step; and wrong pools."""

import asyncio
from contextlib import AsyncExitStack

import anyio
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from protocol.model import Capability, GatewayError
from tests.clock import ManualClock
from tests.pools import GatewayProcess, leasing
from transports.account import Account
from transports.accounts import AccountTracker, ConcurrencyLimits, CooldownReason, LeaseRequest, Pool, Requirement
from transports.accounts.availability import EVERYTHING
from transports.accounts.pool import usable
from transports.accounts.queue import Queue
from transports.store import MemoryStore, StoreDown

CHAT = Requirement(family="pro", capability=Capability.CHAT, guest=False)
ACCOUNTS = [Account(id=name, transport="t", concurrency=2) for name in "ab"]
FEW = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Shaky(MemoryStore):
    """A store whose limits and records are out of reach at times."""

    down = False

    async def take_slot(self, *args, **kwargs):
        self._fail()
        return await super().take_slot(*args, **kwargs)

    async def release_slots(self, *args):
        self._fail()
        await super().release_slots(*args)

    async def renew_slots(self, *args):
        self._fail()
        await super().renew_slots(*args)

    async def put(self, *args, **kwargs):
        self._fail()
        return await super().put(*args, **kwargs)

    async def revisions(self):
        self._fail()
        return await super().revisions()

    def _fail(self):
        if self.down:
            raise StoreDown("down")


class Request:
    """One request: it waits, holds an account until `release` is set, and ends."""

    def __init__(self, number, process, license_id):
        self.number, self.process, self.license = number, process, license_id
        self.release, self.scope = asyncio.Event(), None
        self.account, self.over = None, False

    async def run(self, pool):
        with anyio.CancelScope() as self.scope:
            try:
                async with leasing(pool, LeaseRequest(requirement=CHAT, license=self.license)) as lease:
                    self.account = lease.account.id
                    await self.release.wait()
            except GatewayError:
                pass
        self.account, self.over = None, True


class Machine(RuleBasedStateMachine):
    """Two processes; what they do is done until nothing moves any more, then it is looked at."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.store = Shaky(self.clock)
        self.stack, self.requests, self.was_down = AsyncExitStack(), [], False
        self.out_of_turn = 0
        self.do(self.open())

    def do(self, work):
        async def whole():
            await work
            for _ in range(40):
                await asyncio.sleep(0)

        self.loop.run_until_complete(whole())

    async def open(self):
        self.processes = [
            GatewayProcess(self.clock, self.store, name=n, shared=True, processes=2) for n in ("one", "two")
        ]
        self.pools = [process.pool(lambda: ACCOUNTS, queue_timeout_seconds=1e6) for process in self.processes]
        self.runs = []
        for process, pool in zip(self.processes, self.pools, strict=True):
            self.watch_turns(pool._queue)
            self.spawn(self.keep(process))
            self.spawn(pool.run())
        await asyncio.sleep(0)

    def watch_turns(self, queue):
        """Count the slots that go to a license while one that holds fewer waits."""
        give, held = queue.give, queue.slots_taken

        def noting(waiter, state):
            if state is not None:
                before = held(waiter.request) - 1
                self.out_of_turn += any(held(other.request) < before for other in queue)
            give(waiter, state)

        queue.give = noting

    async def keep(self, process):
        async with process.limits.open(), process.shared_state.open():
            await anyio.sleep_forever()

    def spawn(self, work):
        self.runs.append(self.loop.create_task(work))

    async def call(self, act, *arguments):
        act(*arguments)

    @rule(process=st.integers(0, 1), license_id=st.sampled_from("xy"), count=st.integers(1, 4))
    def ask(self, process, license_id, count):
        for _ in range(count):
            request = Request(len(self.requests), process, license_id)
            self.requests.append(request)
            self.do(self.call(self.spawn, request.run(self.pools[process])))

    @precondition(lambda self: any(request.account for request in self.requests))
    @rule(data=st.data())
    def answer(self, data):
        held = [request for request in self.requests if request.account]
        self.do(self.call(data.draw(st.sampled_from(held)).release.set))

    @precondition(lambda self: any(not request.over for request in self.requests))
    @rule(data=st.data())
    def leave(self, data):
        open_ones = [request for request in self.requests if not request.over]
        self.do(self.call(data.draw(st.sampled_from(open_ones)).scope.cancel))

    @rule(process=st.integers(0, 1), account=st.integers(0, 1), times=st.integers(1, 6))
    def fail(self, process, account, times):
        known = self.pools[process].accounts
        for _ in range(times):
            self.do(self.call(known.count_failure, known.states[account]))

    @rule(seconds=st.sampled_from([0.3, 1.0, 5.0, 31.0]))
    def advance(self, seconds):
        self.do(self.call(self.clock.advance, seconds))

    @rule()
    def look(self):
        for process in self.processes:
            self.do(process.change_feed.poll())

    @rule()
    def down(self):
        self.store.down = self.was_down = True

    @rule()
    def up(self):
        self.store.down = False
        self.do(self.call(self.clock.advance, 1.0))

    @invariant()
    def no_account_exceeds_its_concurrency(self):
        for account in ACCOUNTS:
            held = sum(request.account == account.id for request in self.requests)
            assert held <= account.concurrency + (len(self.pools) if self.was_down else 0)

    @invariant()
    def the_counts_are_those_of_the_open_requests(self):
        for number, pool in enumerate(self.pools):
            held = [request.account for request in self.requests if request.process == number and request.account]
            assert sum(state.in_flight for state in pool.states) == len(held)

    @invariant()
    def requests_of_one_license_are_served_in_order(self):
        lines = {}
        for request in self.requests:
            if not request.over:
                lines.setdefault((request.process, request.license), []).append(bool(request.account))
        for served in lines.values():  # after the store was down, one is sent to an account that another process fills
            assert served == sorted(served, reverse=True) or self.was_down

    @invariant()
    def a_slot_goes_to_a_license_that_holds_the_fewest(self):
        assert self.out_of_turn == 0

    @invariant()
    def the_queue_counts_what_each_license_holds(self):
        for number, pool in enumerate(self.pools):
            mine = [request for request in self.requests if request.process == number and request.account]
            for license_id in "xy":
                held = sum(request.license == license_id for request in mine)
                assert pool._queue.slots_taken(LeaseRequest(requirement=CHAT, license=license_id)) == held

    @invariant()
    def the_last_account_is_never_ejected(self):
        for pool in self.pools:
            ejected = [
                s
                for s in pool.states
                if (cooldown := s.cooldowns.get(EVERYTHING)) and cooldown.reason is CooldownReason.ERRORS
            ]
            assert len(ejected) < len(pool.states) or self.was_down or self.other_process_too
            assert all(usable(state, CHAT) for state in pool.states)

    @property
    def other_process_too(self):
        """Two processes that have not read each other's changes may each eject another account."""
        return len({id(pool) for pool in self.pools for state in pool.states if state.ejections}) > 1

    def teardown(self):
        async def end():
            for run in self.runs:
                run.cancel()
            await asyncio.gather(*self.runs, return_exceptions=True)

        self.store.down = False
        self.loop.run_until_complete(end())
        self.loop.close()


def test_the_pool_keeps_its_invariants_for_random_steps():
    run_state_machine_as_test(Machine, settings=FEW)


def forgetful(monkeypatch):
    monkeypatch.setattr(ConcurrencyLimits, "release", lambda self, slot, then: self._give_back(slot, lambda: None))


def each_for_itself(monkeypatch):
    init = ConcurrencyLimits.__init__
    monkeypatch.setattr(ConcurrencyLimits, "__init__", lambda self, *a, **k: init(self, *a, **{**k, "shared": None}))


def newcomers_first(monkeypatch):
    def give_to_last(self, state, ask=None, waiter=None):
        waiting = list(self._queue)
        if ask is None and waiting and state.ready(CHAT, self._clock.monotonic()):
            self._begin(state, waiting[-1].request, self._clock.monotonic())
            self._queue.give(waiting[-1], state)
            return True
        return False

    monkeypatch.setattr(Pool, "_pass_on", give_to_last)


def in_order_of_arrival(monkeypatch):
    monkeypatch.setattr(Queue, "_turn", lambda self, waiter: (0, waiter.ticket))


def last_one_too(monkeypatch):
    monkeypatch.setattr(AccountTracker, "_may_eject", lambda self, state: True)


@pytest.mark.parametrize("wrong", [forgetful, each_for_itself, newcomers_first, in_order_of_arrival, last_one_too])
def test_the_state_machine_detects_a_faulty_pool(wrong, monkeypatch):
    wrong(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Machine, settings=settings(FEW, max_examples=200, report_multiple_bugs=False))
