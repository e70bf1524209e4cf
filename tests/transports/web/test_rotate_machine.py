"""The rotation of one session by several processes, against a store and a site that fail in every order."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from msgspec.structs import replace
from multidict import CIMultiDict
from structlog.testing import capture_logs

from protocol.model import SignedOut, Throttled
from tests.clock import ManualClock
from tests.transports.conftest import deps_for
from transports.http import Timeouts
from transports.store import MemoryStore
from transports.store.port import SESSIONS, StoreDown
from transports.web.session.cookies import merge
from transports.web.session.record import decode
from transports.web.session.rotation import SessionRotation
from transports.web.session.rotation_lock import RotationLock
from transports.web.session.store import SessionStore

CALL = 14.0
SEED = {"__Secure-1PSID": "psid", "__Secure-1PSIDTS": "ts-0"}
NUMBERS = st.integers(0, 2)


class Killed(Exception):
    """The process is gone."""


class SharedStore(MemoryStore):
    """The store of all processes: it may be down, lose the answer to a write, or restart without its locks."""

    down = loses_answer = False
    server = 1

    async def epoch(self):
        return str(self.server)

    async def acquire(self, name, owner, seconds, epoch=None):
        return await super().acquire(name, owner, seconds) if epoch in {None, str(self.server)} else None


class ProcessStore:
    """The store of one process, which may be paused or killed at every command."""

    def __init__(self, store, process):
        self._store, self._process = store, process

    def __getattr__(self, name):
        async def command(*arguments, **options):
            await self._process.gate()
            if self._store.down:
                raise StoreDown("down")
            if not self._process.world.cas:
                options.pop("expected", None)
            answer = await getattr(self._store, name)(*arguments, **options)
            if self._store.loses_answer and name == "put":
                self._store.loses_answer = False
                raise StoreDown("the answer was lost")
            await self._process.gate()
            return answer

        return command


class ProcessCopy:
    """The local copy of one process; a killed process writes no more."""

    def __init__(self, copy, process):
        self._copy, self._process = copy, process

    def __getattr__(self, name):
        async def command(*arguments, **options):
            if self._process.dead:
                raise Killed
            return await getattr(self._copy, name)(*arguments, **options)

        return command


class RotatingSite:
    """A site that rotates cookies; it counts its values and the rotations that run at once."""

    def __init__(self, clock, grace):
        self.clock, self.grace, self.number, self.running, self.most = clock, grace, 0, 0, 0
        self.old, self.at, self.undelivered = {}, None, False

    def opens(self, cookies):
        value = cookies["__Secure-1PSIDTS"]
        return value == f"ts-{self.number}" or self.old.get(value, 0.0) > self.clock.now

    async def rotate(self, cookies, gate):
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.clock.sleep(CALL)
            if not self.opens(cookies):
                return 401, CIMultiDict(), b""
            if self.at is not None and self.clock.now - self.at < 60:
                return 429, CIMultiDict(), b""
            self.old[f"ts-{self.number}"] = self.clock.now + self.grace
            self.number, self.at, self.undelivered = self.number + 1, self.clock.now, True
        finally:
            self.running -= 1
        answer = CIMultiDict({"Set-Cookie": f"__Secure-1PSIDTS=ts-{self.number}"})
        await gate()  # a paused or killed process did not receive it
        self.undelivered = False
        return 200, answer, b""


class Process:
    """A process of the gateway, with its own copy that outlives it."""

    def __init__(self, world, copy):
        self.world, self.copy, self.dead, self.paused = world, copy, False, False
        self.task = self.receiving = None
        self.free = asyncio.Event()
        store = ProcessStore(world.store, self)
        self.session_store = world.session_store_type("one", SEED, store, world.clock, ProcessCopy(copy, self))
        config = SimpleNamespace(rotate_seconds=480.0, timeouts=Timeouts(), hosts=SimpleNamespace(accounts=""))
        config.rotate_cookies = "pair"
        site = SimpleNamespace(config=config, call=self.call)
        session = SimpleNamespace(
            name="one", site=site, forget=self.nothing, report_signed_out=self.nothing, signed_in=self.signed_in
        )
        deps = deps_for(world.clock, store)
        self.rotation = world.rotation_type(session, self.session_store, deps)

    async def nothing(self, *_):
        """Ignore the call."""

    async def signed_in(self):
        await self.gate()
        return self.world.site.opens(self.session_store.cookies)

    async def call(self, *_, **__):
        return await self.world.site.rotate(self.session_store.cookies, self.gate)

    async def gate(self):
        await asyncio.sleep(0)
        while self.paused and not self.dead:
            await self.free.wait()
        if self.dead:
            raise Killed

    async def turn(self):
        with suppress(OSError, SignedOut, Throttled, Killed):
            await self.rotation.rotate_now()

    async def receive(self, cookie):
        with suppress(OSError, Killed):
            await self.session_store.merge_cookies([cookie], since=self.session_store.version)

    async def kill(self):
        self.dead = True
        self.free.set()
        await asyncio.sleep(0)


class Protocol(RuleBasedStateMachine):
    """Three processes, one account."""

    session_store_type, rotation_type, cas, grace = SessionStore, SessionRotation, True, 120.0

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.store, self.site = SharedStore(self.clock), RotatingSite(self.clock, self.grace)
        self.processes = [self.run(self.process(MemoryStore(self.clock))) for _ in range(3)]
        for process in self.processes:
            self.run(process.rotation.prepare())
        self.clock.advance(50)
        self.newest = (0, 0, 0.0, 0)

    async def process(self, copy):
        return Process(self, copy)

    def run(self, work):
        return self.loop.run_until_complete(work)

    async def settle(self, steps):
        for _ in range(steps):
            await asyncio.sleep(0)

    async def begin(self, number, steps):
        process = self.processes[number]
        if process.task is None or process.task.done():
            process.task = self.loop.create_task(process.turn())
        await self.settle(steps)

    async def pass_time(self, seconds):
        self.clock.advance(seconds)
        await self.settle(100)

    @rule(number=NUMBERS, steps=st.sampled_from([3, 8, 14, 20, 30, 100]))
    def begins_to_rotate(self, number, steps):
        self.run(self.begin(number, steps))

    @rule(number=NUMBERS)
    def is_due_and_sends(self, number):
        self.run(self.pass_time(300))
        self.run(self.begin(number, 100))

    @rule(number=NUMBERS)
    def rotates(self, number):
        self.run(self.pass_time(300))
        self.run(self.begin(number, 100))
        self.run(self.pass_time(15))

    @rule(seconds=st.sampled_from([1, 6, 15, 46, 130]))
    def time_passes(self, seconds):
        self.run(self.pass_time(seconds))

    @rule(number=NUMBERS)
    def stands_still(self, number):
        self.processes[number].paused = True

    @rule(number=NUMBERS, steps=st.sampled_from([1, 2, 3, 4, 5, 100]), stop=st.booleans())
    def an_answer_sets_a_cookie(self, number, steps, stop):
        process = self.processes[number]

        async def receive():
            if process.receiving is None or process.receiving.done():
                process.receiving = self.loop.create_task(process.receive(f"SIDCC={self.clock.now}"))
            await self.settle(steps)
            process.paused = process.paused or stop

        self.run(receive())

    @rule(number=NUMBERS)
    def goes_on(self, number):
        process = self.processes[number]
        process.paused = False
        process.free.set()
        process.free = asyncio.Event()
        self.run(self.settle(200))

    @rule(number=NUMBERS)
    def is_killed_and_started_again(self, number):
        async def again():
            old = self.processes[number]
            await old.kill()
            self.processes[number] = Process(self, old.copy)

        self.run(again())

    @rule(down=st.sampled_from([False, False, True]))
    def store_is_down_or_up(self, down):
        self.store.down = down

    @rule()
    def store_does_and_says_it_failed(self):
        self.store.loses_answer = True

    @precondition(lambda self: not self.store.down)
    @rule()
    def another_server_that_has_forgotten_the_leases(self):
        self.store.server += 1
        self.store._locks.clear()
        self.store._collections["intent"].clear()

    @invariant()
    def never_two_rotations_at_once(self):
        assert self.site.most <= 1, "two rotations at once"

    @invariant()
    def the_newest_value_is_somewhere(self):
        holders = [process.session_store.saved for process in self.processes]
        holders += [process.session_store._unsaved for process in self.processes if process.session_store.unsaved]
        places = [self.store, *(process.copy for process in self.processes)]
        kept = [place._find(SESSIONS, "one") for place in places]
        holders += [decode(record.value) for record in kept if record is not None]
        held = self.site.undelivered or any(self.site.opens(saved.cookies) for saved in holders)
        assert held, "the newest value is lost"

    @invariant()
    def an_older_value_never_replaces_a_newer(self):
        record = self.store._find(SESSIONS, "one")
        if record is not None:
            order = decode(record.value).order
            assert order >= self.newest, "an older value replaced a newer one"
            self.newest = order

    def teardown(self):
        for process in self.processes:
            self.run(process.kill())
        for _ in range(3):
            self.clock.advance(100)
            self.run(self.settle(100))
        self.loop.close()


class Lagging(Protocol):
    """The same with a replica of the store that lacks the last writes and is sometimes promoted."""

    replicated = None

    @precondition(lambda self: not self.store.down)
    @rule()
    def the_sessions_reach_the_replica(self):
        self.replicated = self.store._find(SESSIONS, "one")

    @precondition(lambda self: not self.store.down and self.replicated is not None)
    @rule()
    def the_replica_is_promoted_and_lacks_the_last_writes(self):
        self.another_server_that_has_forgotten_the_leases()
        self.run(self.store.put(SESSIONS, "one", self.replicated.value))
        self.newest = decode(self.replicated.value).order

    @rule()
    def all_goes_well_for_a_while(self):
        self.store.down = self.store.loses_answer = False
        for number in range(3):
            self.goes_on(number)
        self.run(self.pass_time(30))
        for process in self.processes * 2:
            self.run(process.session_store.load())
        found = [self.site.opens(process.session_store.cookies) for process in self.processes]
        assert self.site.undelivered or all(found), "a process lacks the newest value"


def run(machine, examples):
    with capture_logs():
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=30,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )


@pytest.mark.parametrize(("grace", "examples"), [(0.0, 60), (60.0, 60), (120.0, 250), (300.0, 60)])
def test_the_protocol_holds_for_any_failure_and_any_grace_period(grace, examples):
    class World(Lagging):
        pass

    World.grace = grace
    run(World, examples)


async def acquire_always(self, barrier):
    self._since = self._clock.monotonic()
    self.fence = 1
    return True


async def acquire_without_barrier(self, barrier):
    self._since = self._clock.monotonic()
    self.fence = await self._locks.acquire(self._name, self.owner, 45.0) or 0
    return bool(self.fence)


class UsedBeforeSaved(SessionStore):
    """Uses a value a second before it is saved."""

    async def renew(self, sent, set_cookies, *, at, by, interval=None):
        set_cookies = list(set_cookies)
        before = self.saved
        self._use(replace(before, cookies=merge(before.cookies, set_cookies)))
        await self._clock.sleep(1)
        return await super().renew(sent, set_cookies, at=at, by=by, interval=interval)


class SeedFirst(SessionStore):
    """Always uses the value that it started with."""

    def _for_store(self, stored, *, damaged=False):
        return self._seed if stored is not None else super()._for_store(stored, damaged=damaged)


def play(machine, *steps):
    """Run the steps in order and check every invariant after each of them."""
    world = machine()
    try:
        for step in steps:
            step(world)
            world.never_two_rotations_at_once()
            world.the_newest_value_is_somewhere()
            world.an_older_value_never_replaces_a_newer()
    finally:
        world.teardown()


@pytest.mark.parametrize("take", [acquire_always, acquire_without_barrier])
def test_without_the_lock_or_its_barrier_two_replicas_rotate_at_once(monkeypatch, take):
    steps = (
        lambda world: world.is_due_and_sends(0),
        lambda world: world.another_server_that_has_forgotten_the_leases(),
        lambda world: world.begins_to_rotate(1, 100),
    )
    play(Protocol, *steps)
    monkeypatch.setattr(RotationLock, "acquire", take)
    with pytest.raises(AssertionError, match="two rotations at once"):
        play(Protocol, *steps)


def test_using_a_value_before_it_is_saved_is_detected():
    class Wrong(Protocol):
        session_store_type = UsedBeforeSaved

    steps = (
        lambda world: world.is_due_and_sends(0),
        lambda world: world.time_passes(14),
        lambda world: world.is_killed_and_started_again(0),
        lambda world: world.time_passes(130),  # the grace period of the old value ends
    )
    play(Protocol, *steps)
    with pytest.raises(AssertionError, match="the newest value is lost"):
        play(Wrong, *steps)


def test_a_seed_that_overwrites_the_stored_session_is_detected():
    class Wrong(Protocol):
        session_store_type = SeedFirst

    steps = (lambda world: world.rotates(0), lambda world: world.begins_to_rotate(1, 100))
    play(Protocol, *steps)
    with pytest.raises(AssertionError, match="an older value"):
        play(Wrong, *steps)


class StoreFirst(SessionStore):
    """Always uses the stored value, even an older one."""

    def _for_store(self, stored, *, damaged=False):
        return None if stored is not None and not self.unsaved else super()._for_store(stored, damaged=damaged)


def lose_a_rotation(machine):
    """Let the store lose a rotation."""
    world = machine()
    try:
        world.rotates(0)
        world.the_sessions_reach_the_replica()
        world.rotates(0)
        assert world.site.number == 2
        world.the_replica_is_promoted_and_lacks_the_last_writes()
        world.all_goes_well_for_a_while()
    finally:
        world.teardown()


def test_trusting_a_store_that_lost_writes_loses_the_newest_value():
    class Right(Lagging):
        grace = 0.0

    class Wrong(Right):
        session_store_type = StoreFirst

    lose_a_rotation(Right)
    with pytest.raises(AssertionError, match="a process lacks the newest value"):
        lose_a_rotation(Wrong)


def newer_value_is_kept(machine, steps):
    """Pause a process at a step of its write while another rotates; return whether the newer value is kept."""
    world = machine()
    try:
        world.an_answer_sets_a_cookie(1, steps, stop=True)
        world.rotates(0)
        world.an_older_value_never_replaces_a_newer()
        assert world.site.number == 1
        world.goes_on(1)
        return decode(world.store._find(SESSIONS, "one").value).order >= world.newest
    finally:
        world.teardown()


def test_without_compare_and_set_a_late_write_replaces_a_newer_value():
    class Wrong(Protocol):
        cas = False

    assert all(newer_value_is_kept(Protocol, steps) for steps in range(1, 9))
    assert not all(newer_value_is_kept(Wrong, steps) for steps in range(1, 9))
