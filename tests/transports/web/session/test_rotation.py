import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from protocol.model import SignedOut
from tests.clock import ManualClock
from tests.transports.conftest import ACCOUNT, connected, deps_for
from tests.transports.web.rotations import (
    BARE,
    PAIR,
    REFUSED,
    RotationCalls,
    RotationRecorder,
    ask,
    interval,
    observed_rotation_of,
    rotation_of,
)
from transports import simulator, web
from transports.store import MemoryStore
from transports.store.port import INTENTS, SESSIONS
from transports.web import wire
from transports.web.session.record import decode, fingerprint
from transports.web.session.rotation_lock import RotationIntent, encode_intent
from transports.web.session.store import SessionStore


async def test_a_rotated_value_is_saved_used_and_survives_a_restart(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with open_site(clock=clock, grace_seconds=60) as site:
        async with site.connect(deps=deps_for(clock, store)) as transport:
            await ask(transport)
            await rotation_of(transport, store, clock).rotate_now()
            assert connected(transport).session.site.session_store.cookies["__Secure-1PSIDTS"] != ACCOUNT.psidts
            await ask(transport)
        clock.advance(600)  # the first value has expired by now
        async with site.connect(deps=deps_for(clock, store)) as transport:
            await ask(transport)
        async with site.connect(deps=deps_for(clock, MemoryStore(clock))) as transport:
            with pytest.raises(SignedOut):
                await ask(transport)


async def test_a_rotation_is_due_at_regular_intervals(open_site):
    clock = ManualClock()
    async with open_site(clock=clock) as site, site.connect(deps=deps_for(clock), rotate_seconds=540) as transport:
        await clock.until_asleep(2)
        assert await site.seen("rotate") == 0
        clock.advance(540 * 1.1)
        with anyio.fail_after(60):
            while await site.seen("rotate") == 0:
                await anyio.lowlevel.checkpoint()
        await ask(transport)


async def test_two_concurrent_rotations_rotate_once(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with (
        open_site(clock=clock) as site,
        site.connect(deps=deps_for(clock, store)) as one,
        site.connect(deps=deps_for(clock, store)) as two,
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rotation_of(one, store, clock).rotate_now)
            tasks.start_soon(rotation_of(two, store, clock).rotate_now)
        await rotation_of(two, store, clock).rotate_now()
        assert await site.seen("rotate") == 1
        await ask(one)
        await ask(two)


async def test_a_dead_session_needs_attention(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    dead = web.WebAccount(id="one", cookies="__Secure-1PSID=unknown; __Secure-1PSIDTS=dead")
    async with open_site(clock=clock) as site, site.connect(dead, deps=deps_for(clock, store)) as transport:
        with pytest.raises(SignedOut):
            await rotation_of(transport, store, clock).rotate_now()
        assert await site.seen("rotate") == 2


async def test_a_rotation_sends_the_documented_headers_and_body_and_only_the_pair_of_cookies(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    account = web.WebAccount(id="one", cookies=simulator.export_of(ACCOUNT) + "; NID=1; SAPISID=2")
    async with open_site(clock=clock) as site, site.connect(account, deps=deps_for(clock, store)) as transport:
        calls = RotationCalls(transport)
        await rotation_of(transport, store, clock).rotate_now()
        headers, cookies, body = calls.sent[0]
        assert headers == {"Content-Type": "application/json", "Origin": site.base}
        assert (cookies, body) == (PAIR, b'[000,"-0000000000000000000"]')


async def test_all_cookies_are_sent_if_the_setting_says_so(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    cookies = f"{simulator.export_of(ACCOUNT)}; NID=1; __Secure-3PSIDTS=3"
    account = web.WebAccount(id="one", cookies=cookies)
    settings = {"rotate_cookies": "all", "rotate_seconds": 0, "deps": deps_for(clock, store)}
    async with open_site(clock=clock) as site, site.connect(account, **settings) as transport:
        calls = RotationCalls(transport)
        calls.answers = [REFUSED, (200, [], b"")]
        await rotation_of(transport, store, clock).rotate_now()
        assert [cookies for _, cookies, _ in calls.sent] == [
            ["NID", "__Secure-1PSID", "__Secure-1PSIDTS", "__Secure-3PSIDTS"],
            ["NID", "__Secure-1PSID"],
        ]


@pytest.mark.parametrize("status", [401, 403, 302])
async def test_a_refused_session_is_retried_without_its_rolling_cookie(open_site, status):
    clock, recorder = ManualClock(), RotationRecorder()
    store = MemoryStore(clock)
    async with open_site(clock=clock) as site, site.connect(deps=deps_for(clock, store), rotate_seconds=0) as transport:
        calls = RotationCalls(transport)
        calls.answers = [(status, [], b""), (200, ["__Secure-1PSIDTS=fresh; Domain=.google.com"], interval(600))]
        rotation = observed_rotation_of(transport, store, clock, recorder)
        await rotation.run_once()
        assert [cookies for _, cookies, _ in calls.sent] == [PAIR, BARE]
        assert recorder.outcomes == ["rotated"]
        assert connected(transport).session.site.session_store.cookies["__Secure-1PSIDTS"] == "fresh"


async def test_a_session_without_a_rolling_cookie_is_refused_once(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    account = web.WebAccount(id="one", cookies="__Secure-1PSID=unknown; NID=1")
    async with open_site(clock=clock) as site, site.connect(account, deps=deps_for(clock, store)) as transport:
        with pytest.raises(SignedOut):
            await rotation_of(transport, store, clock).rotate_now()
        assert await site.seen("rotate") == 1


async def test_a_refusal_followed_by_another_failure_needs_no_attention(open_site):
    clock, recorder = ManualClock(), RotationRecorder()
    store = MemoryStore(clock)
    async with open_site(clock=clock) as site, site.connect(deps=deps_for(clock, store), rotate_seconds=0) as transport:
        calls = RotationCalls(transport)
        calls.answers = [REFUSED, (429, [], b"")]
        rotation = observed_rotation_of(transport, store, clock, recorder)
        assert await rotation.run_once() >= 0
        assert recorder.outcomes == ["throttled"]
        assert recorder.changes == []


async def test_a_changed_export_replaces_the_stored_session(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with open_site(clock=clock) as site:
        async with site.connect(deps=deps_for(clock, store)) as transport:
            await rotation_of(transport, store, clock).rotate_now()
        fresh = web.WebAccount(id="one", cookies="__Secure-1PSID=psid-1; __Secure-1PSIDTS=newer; NID=1")
        async with site.connect(fresh, deps=deps_for(clock, store)) as transport:
            assert connected(transport).session.site.session_store.cookies["__Secure-1PSIDTS"] == "newer"


class FailingStore(MemoryStore):
    """Fails to save, a few times; what it says failed was done all the same, the second time."""

    failures = 2

    async def put(self, place, key, value, **options):
        if place is SESSIONS and self.failures == 2:
            self.failures -= 1
            raise OSError("out of order")
        saved = await super().put(place, key, value, **options)
        if place is SESSIONS and self.failures:
            self.failures -= 1
            raise OSError("the answer was lost")
        return saved


async def test_a_rotated_value_is_used_after_it_is_saved_and_saving_is_retried(open_site):
    clock = ManualClock()
    store = FailingStore(clock)
    async with open_site(clock=clock) as site, site.connect(deps=deps_for(clock, store), rotate_seconds=0) as transport:
        session_store = connected(transport).session.site.session_store
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rotation_of(transport, store, clock).rotate_now)
            for _ in range(2):
                await clock.until_asleep(2)  # the sweeper and this
                assert session_store.cookies["__Secure-1PSIDTS"] == ACCOUNT.psidts
                clock.advance(1)
                await anyio.lowlevel.checkpoint()
        assert session_store.cookies["__Secure-1PSIDTS"] != ACCOUNT.psidts
        assert await site.seen("rotate") == 1


async def test_a_rotation_without_a_new_value_counts_for_all_processes(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    known = simulator.SimulatedAccount(psid="p")
    account = web.WebAccount(id="one", cookies=simulator.export_of(known))
    async with (
        open_site(known, clock=clock) as site,
        site.connect(account, deps=deps_for(clock, store)) as one,
        site.connect(account, deps=deps_for(clock, store)) as two,
    ):
        assert await rotation_of(one, store, clock).rotate_now()
        assert await rotation_of(two, store, clock).rotate_now()
        assert await site.seen("rotate") == 1


async def test_a_process_waits_for_another_rotation_and_uses_its_value(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with open_site(clock=clock) as site, site.connect(deps=deps_for(clock, store)) as transport:
        session_store = connected(transport).session.site.session_store
        await store.acquire("rotate/one", "another process", 45)
        await clock.until_asleep(2)
        clock.advance(70)  # the writer's lease is renewed, as time goes by
        await store.acquire("rotate/one", "another process", 45)
        await anyio.wait_all_tasks_blocked()
        theirs = SessionStore("one", session_store.saved.cookies, store, clock)
        await theirs.renew(theirs.saved, ["__Secure-1PSIDTS=theirs"], at=clock.wall(), by="another")
        await store.release("rotate/one", "another process")
        clock.advance(5)
        await anyio.wait_all_tasks_blocked()
        assert session_store.cookies["__Secure-1PSIDTS"] == "theirs"
        assert await site.seen("rotate") == 0


async def test_an_ended_session_is_reported_once_and_so_is_its_recovery(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    settings = {"rotate_seconds": 540, "deps": deps_for(clock, store)}
    async with open_site(clock=clock, session_seconds=0) as site, site.connect(**settings) as transport:
        rotation = rotation_of(transport, store, clock)
        RotationCalls(transport).answers = [REFUSED] * 4
        with capture_logs() as logs:
            for _ in range(2):
                assert await rotation.run_once() >= 60
                clock.advance(600)
            assert await rotation.run_once() > 60
    records = [entry for entry in logs if entry["event"].startswith("account_")]
    assert records == [
        {"event": "account_attention_required", "log_level": "error", "account": "one", "reason": "bound"},
        {"event": "account_recovered", "log_level": "info", "account": "one"},
    ]


async def test_a_rate_limited_rotation_waits_at_least_a_minute(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with (
        open_site(clock=clock, min_rotation_interval_seconds=600) as site,
        site.connect(deps=deps_for(clock, MemoryStore(clock)), rotate_seconds=0) as other,
        site.connect(deps=deps_for(clock, store), rotate_seconds=540) as transport,
    ):
        await rotation_of(other, MemoryStore(clock), clock).rotate_now()
        with capture_logs() as logs:
            assert await rotation_of(transport, store, clock).run_once() >= 60
        assert logs[-1]["error"] == "Throttled"


async def test_a_running_rotation_finishes_at_shutdown(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with open_site(clock=clock) as site:
        async with site.connect(deps=deps_for(clock, store)) as transport:
            session = connected(transport).session
            call, answered, stopping = session.site.call, anyio.Event(), anyio.Event()

            async def slow(*arguments, **options):
                answer = await call(*arguments, **options)
                answered.set()
                await stopping.wait()
                return answer

            session.site.call = slow
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(rotation_of(transport, store, clock).rotate_now)
                await answered.wait()
                tasks.cancel_scope.cancel()
                stopping.set()
        clock.advance(600)  # the first value has expired by now
        async with site.connect(deps=deps_for(clock, store)) as transport:
            await ask(transport)


async def test_an_accepted_session_that_is_never_rotated_is_bound_to_its_browser(open_site):
    clock, recorder = ManualClock(), RotationRecorder()
    store = MemoryStore(clock)
    bound = simulator.SimulatedAccount(psid="psid-1", psidts="psidts-1", bound=True)
    async with open_site(bound, clock=clock) as site, site.connect(deps=deps_for(clock, store)) as transport:
        await observed_rotation_of(transport, store, clock, recorder).run_once()
        assert recorder.outcomes == ["bound"]
        assert recorder.changes == [("rotation_failed", "bound")]
        assert await site.seen("rotate") == 2


async def test_a_rotation_of_a_killed_process_is_taken_over_in_the_grace_period(open_site):
    clock, recorder = ManualClock(), RotationRecorder()
    store = MemoryStore(clock)
    async with (
        open_site(clock=clock, grace_seconds=120) as site,
        site.connect(deps=deps_for(clock, store)) as one,
        site.connect(deps=deps_for(clock, store)) as two,
    ):
        session = connected(one).session
        await store.acquire("rotate/one", "dead", 45)
        started = await store.now()
        intent = RotationIntent(
            fence=1, owner="dead", started=started, old_hash=fingerprint(session.site.session_store.cookies)
        )
        await store.put(INTENTS, "one", encode_intent(intent))
        await session.site.call(  # and the answer was lost
            "POST",
            site.base + wire.ROTATE_PATH,
            {"Content-Type": wire.ROTATE_CONTENT_TYPE},
            data=wire.ROTATE_BODY,
            only=(wire.PSID, wire.PSIDTS),
        )
        rotation = observed_rotation_of(two, store, clock, recorder)
        while "rotated" not in recorder.outcomes:
            assert clock.now < 1120
            clock.advance(await rotation.run_once() if clock.now < 1120 else 0)
        clock.advance(300)
        await ask(two)


async def test_rotation_calls_of_all_processes_are_a_minute_apart(open_site):
    clock, recorder = ManualClock(), RotationRecorder()
    store = MemoryStore(clock)
    async with (
        open_site(clock=clock) as site,
        site.connect(deps=deps_for(clock, store)) as one,
        site.connect(deps=deps_for(clock, store)) as two,
    ):
        await site.order(where="rotate", status=429)
        assert await observed_rotation_of(one, store, clock, recorder).run_once() >= 60
        clock.advance(30)
        assert await observed_rotation_of(two, store, clock, recorder).run_once() >= 30
        assert await site.seen("rotate") == 1
        clock.advance(31)
        await observed_rotation_of(two, store, clock, recorder).run_once()
        assert recorder.outcomes == ["throttled", "busy", "rotated"]


async def test_a_rotation_of_another_process_is_used_after_the_stores_notice(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    ours = deps_for(clock, store)
    async with (
        open_site(clock=clock) as site,
        site.connect(deps=ours) as one,
        site.connect(deps=deps_for(clock, store)) as two,
    ):
        await rotation_of(two, store, clock).rotate_now()
        await ours.change_feed.poll()
        vaults = [connected(transport).session.site.session_store for transport in (one, two)]
        assert vaults[0].cookies == vaults[1].cookies
        assert vaults[0].version == 1


async def test_cookies_of_an_answer_are_saved_without_delaying_it(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with open_site(clock=clock, cookie_every=1) as site:
        async with site.connect(deps=deps_for(clock, store), rotate_seconds=0) as transport:
            await ask(transport)
            before = dict(connected(transport).session.site.session_store.cookies)
            clock.advance(60)
            await ask(transport)
        kept = decode((await store.get(SESSIONS, "one")).value).cookies
        assert {name for name in kept if kept[name] != before.get(name)} == {"__Secure-1PSIDCC"}


async def test_a_process_that_shuts_down_starts_no_rotation(open_site):
    clock, leaving = ManualClock(), [True]
    deps = replace(deps_for(clock), shutting_down=lambda: leaving[0])
    async with open_site(clock=clock) as site, site.connect(deps=deps, rotate_seconds=540) as transport:
        await clock.until_asleep(2)
        clock.advance(540 * 1.1)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        await ask(transport)
        assert await site.seen("rotate") == 0
        leaving[0] = False
        with anyio.fail_after(60):
            while await site.seen("rotate") == 0:
                clock.advance(5.0)
                await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("age", "by", "least", "most"),
    [
        (1200, "one that is gone", 0, 6),
        (200, "process-1", 232, 328),
        (200, "another", 262, 388),
        (-3600, "process-1", 432, 528),
    ],
    ids=["overdue", "own", "another's", "of a clock that was set"],
)
async def test_an_overdue_session_rotates_at_start_and_one_of_another_process_later(open_site, age, by, least, most):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with (
        open_site(clock=clock) as site,
        site.connect(deps=deps_for(clock, store), rotate_seconds=480) as transport,
    ):
        session_store = connected(transport).session.site.session_store
        await session_store.renew(session_store.saved, [], at=await store.now() - age, by=by)
        rotation = rotation_of(transport, store, clock)
        for _ in range(50):
            assert least <= rotation.seconds_until_due() <= most
