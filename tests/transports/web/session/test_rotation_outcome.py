import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.clock import ManualClock
from tests.transports.conftest import connected, deps_for
from tests.transports.web.rotations import (
    RotationCalls,
    RotationRecorder,
    ask,
    interval,
    observed_rotation_of,
    rotation_of,
)
from transports import simulator, web
from transports.store import MemoryStore
from transports.store.port import SESSIONS
from transports.web.session.record import decode
from transports.web.session.rotation_outcome import read_interval

CAPTURES = Path(__file__).parents[3] / "captures"


@pytest.mark.parametrize(("name", "seconds"), [("rotate-200-body.txt", 600.0), ("rotate-403-body.txt", math.inf)])
def test_the_interval_is_read_from_recorded_answers(name, seconds):
    assert read_interval((CAPTURES / name).read_bytes()) == seconds


@given(st.integers(0, 2147483646))
def test_an_interval_is_used_within_limits(seconds):
    assert read_interval(interval(seconds)) == min(3600, max(60, seconds))


@given(st.binary(max_size=200))
def test_an_unknown_body_has_no_interval(body):
    assert read_interval(body) is None


@pytest.mark.parametrize(("reported", "least"), [(60, 60), (300, 300), (1, 60), (3600, 3600), (90_000, 3600), (0, 60)])
async def test_the_sites_interval_overrides_the_setting(open_site, reported, least):
    clock, recorder = ManualClock(), RotationRecorder()
    store = MemoryStore(clock)
    settings = {"rotate_seconds": 540, "deps": deps_for(clock, store)}
    async with open_site(clock=clock) as site, site.connect(**settings) as transport:
        calls = RotationCalls(transport)
        calls.answers = [(200, [], interval(reported))]
        rotation = observed_rotation_of(transport, store, clock, recorder)
        assert least <= await rotation.run_once() <= least * 1.1
        kept = decode((await store.get(SESSIONS, "one")).value)
        assert kept.interval == least


@pytest.mark.parametrize(
    "body", [b"", b"[]", b")]}'\n\n", b"nonsense", b'[["identity.hfcr"]]', b'[["identity.hfcr",-1]]']
)
async def test_without_an_interval_the_setting_is_used(open_site, body):
    clock, recorder = ManualClock(), RotationRecorder()
    store = MemoryStore(clock)
    settings = {"rotate_seconds": 540, "deps": deps_for(clock, store)}
    async with open_site(clock=clock) as site, site.connect(**settings) as transport:
        RotationCalls(transport).answers = [(200, [], body)]
        assert 540 * 0.9 <= await observed_rotation_of(transport, store, clock, recorder).run_once() <= 540 * 1.1


@pytest.mark.parametrize("status", [200, 403])
async def test_a_session_that_is_never_rotated_is_asked_once_and_keeps_serving(open_site, status):
    clock, recorder = ManualClock(), RotationRecorder()
    store = MemoryStore(clock)
    settings = {"rotate_seconds": 540, "deps": deps_for(clock, store)}
    async with open_site(clock=clock, session_seconds=0) as site:
        async with site.connect(**settings) as transport:
            calls = RotationCalls(transport)
            calls.answers = [(status, [], interval(2147483647))]
            rotation = observed_rotation_of(transport, store, clock, recorder)
            with capture_logs() as logs:
                for _ in range(4):
                    clock.advance(await rotation.run_once())
            assert len(calls.sent) == 1
            assert [entry["event"] for entry in logs].count("rotation_disabled") == 1
            assert ("rotation_failed", "never") in recorder.changes
            assert "never rotates" in transport.accounts[0].facts().rotation_note
            await ask(transport)
        async with site.connect(deps=deps_for(clock, store), rotate_seconds=540) as another:
            calls = RotationCalls(another)
            for _ in range(3):
                clock.advance(await rotation_of(another, store, clock).run_once())
            assert calls.sent == []
            await ask(another)


async def test_a_new_export_is_rotated_even_if_the_last_one_never_was(open_site):
    clock, recorder = ManualClock(), RotationRecorder()
    store = MemoryStore(clock)
    known = simulator.SimulatedAccount(psid="psid-1", psidts="psidts-1", never_rotated=True)
    fresh = simulator.SimulatedAccount(psid="psid-2", psidts="psidts-2")
    async with open_site(known, fresh, clock=clock) as site:
        async with site.connect(deps=deps_for(clock, store), rotate_seconds=540) as transport:
            await observed_rotation_of(transport, store, clock, recorder).run_once()
        account = web.WebAccount(id="one", cookies=simulator.export_of(fresh))
        async with site.connect(account, deps=deps_for(clock, store), rotate_seconds=540) as transport:
            clock.advance(60)
            await observed_rotation_of(transport, store, clock, recorder).run_once()
        assert recorder.outcomes == ["never", "rotated"]


async def test_a_process_remembers_never_rotated_while_the_store_is_down(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with open_site(clock=clock) as site, site.connect(deps=deps_for(clock, store), rotate_seconds=0) as transport:
        session_store = connected(transport).session.site.session_store

        async def down(*_, **__):
            raise OSError("out of order")

        put, store.put = store.put, down
        await session_store.mark_never_rotated(session_store.saved)
        assert session_store.saved.never
        store.put = put  # else the end waits for it
