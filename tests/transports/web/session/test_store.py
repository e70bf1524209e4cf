from functools import partial

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from tests.clock import ManualClock
from transports.store import MemoryStore
from transports.store.port import SESSIONS, StoreDown
from transports.tasks import background_tasks
from transports.web.session.store import SessionStore, flush

SEED = {"__Secure-1PSID": "psid", "__Secure-1PSIDTS": "ts-1"}


def session_stores(number=2, store=None, clock=None):
    """Return the session stores of as many processes, all with the same records."""
    clock = clock or ManualClock()
    store = store or MemoryStore(clock)
    return [SessionStore("one", SEED, store, clock) for _ in range(number)]


def psidts(session_store):
    return session_store.cookies["__Secure-1PSIDTS"]


async def renew(session_store, value, *, at=1.0, sent=None):
    return await session_store.renew(sent or session_store.saved, [f"__Secure-1PSIDTS={value}"], at=at, by="me")


async def test_cookies_of_an_answer_are_saved_without_a_renewal():
    (session_store,) = session_stores(1)
    await session_store.merge_cookies(["SIDCC=a; Domain=.google.com"], since=session_store.version)
    assert session_store.cookies == {**SEED, "SIDCC": "a"}
    assert (session_store.saved.gen, session_store.saved.ver, session_store.version, session_store.renewals) == (
        1,
        1,
        0,
        0,
    )


async def test_cookies_of_an_answer_are_dropped_after_a_renewal():
    (session_store,) = session_stores(1)
    sent = session_store.version
    await renew(session_store, "ts-2")
    await session_store.merge_cookies(
        ["__Secure-1PSIDTS=ts-1b; Domain=.google.com", "SIDCC=a; Domain=.google.com"], since=sent
    )
    assert session_store.cookies == {**SEED, "__Secure-1PSIDTS": "ts-2"}


async def test_cookies_of_an_answer_are_dropped_after_a_renewal_by_another_process():
    ours, theirs = session_stores()
    await renew(theirs, "ts-2")
    await ours.merge_cookies(["SIDCC=a; Domain=.google.com"], since=ours.version)
    assert ours.cookies == theirs.cookies == {**SEED, "__Secure-1PSIDTS": "ts-2"}


async def test_a_rolling_cookie_of_an_answer_is_saved_at_once_as_a_renewal():
    ours, theirs = session_stores()
    assert ours.note_cookies(["__Secure-1PSIDTS=ts-2"], since=ours.version) == 0.0
    assert psidts(ours) == "ts-1"
    await ours.save_noted()
    assert (psidts(ours), ours.version, ours.renewals) == ("ts-2", 1, 1)
    await theirs.load()
    assert theirs.cookies == ours.cookies


async def test_minor_cookies_are_saved_once_a_minute():
    clock = ManualClock()
    (session_store,) = session_stores(1, clock=clock)
    assert session_store.note_cookies(["SIDCC=a"], since=0) == 0.0
    await session_store.save_noted()
    assert session_store.note_cookies(["SIDCC=b"], since=0) == 60.0
    assert session_store.note_cookies(["SIDCC=c"], since=0) is None
    clock.advance(60)
    await session_store.save_noted()
    assert (session_store.cookies["SIDCC"], session_store.saved.ver) == ("c", 2)


async def test_an_answer_never_changes_the_identity_of_a_session():
    (session_store,) = session_stores(1)
    assert session_store.note_cookies(["__Secure-1PSID=another"], since=0) is None


async def test_a_renewal_is_counted_by_all_processes():
    ours, theirs = session_stores()
    await renew(ours, "ts-2")
    assert (ours.renewals, theirs.renewals) == (1, 0)
    assert await theirs.load()
    assert not await theirs.load()
    assert (ours.renewals, theirs.renewals) == (1, 1)


async def test_all_processes_know_the_time_of_a_rotation_without_a_new_value():
    ours, theirs = session_stores()
    await ours.renew(ours.saved, [], at=5.0, by="me")
    assert not await theirs.load()
    assert (theirs.saved.rotated_at, theirs.saved.by) == (5.0, "me")


async def test_an_unreadable_record_is_ignored():
    store = MemoryStore(ManualClock())
    await store.put(SESSIONS, "one", b"nonsense")
    (session_store,) = session_stores(1, store)
    assert not await session_store.load()
    assert session_store.cookies == SEED


@pytest.mark.parametrize("seed", [{"__Secure-1PSID": "other"}, {**SEED, "NID": "1"}])
async def test_a_new_export_wins_over_an_old_one_that_is_still_mounted(seed):
    clock = ManualClock()
    store = MemoryStore(clock)
    old = SessionStore("one", SEED, store, clock)
    await renew(old, "ts-2")
    new = SessionStore("one", seed, store, clock)
    await new.load()
    assert (new.cookies, new.saved.gen) == (seed, 2)
    for _ in range(3):
        again = SessionStore("one", SEED, store, clock)
        for session_store in (again, old, new):
            await session_store.load()
            assert (session_store.cookies, session_store.saved.gen) == (seed, 2)
    version = (await store.get(SESSIONS, "one")).version
    assert new.record == version


class Sick(MemoryStore):
    """A store that fails before or after a write to the sessions, as set."""

    before = after = False

    async def put(self, place, key, value, **options):
        if self.before and place is SESSIONS:  # nothing was done
            raise StoreDown("before")
        version = await super().put(place, key, value, **options)
        if self.after and place is SESSIONS:
            self.after = False
            raise StoreDown("after")
        return version


async def passing(clock, seconds, done):
    """Advance the clock by a second at a time while a task sleeps."""
    for _ in range(seconds):
        if done.is_set():
            return
        await clock.until_asleep()
        clock.advance(1)
        await anyio.wait_all_tasks_blocked()


async def renew_in_vain(session_store, clock, value, **options):
    """Renew while the store is out of order; pass the time."""
    done, results = anyio.Event(), []

    async def act():
        results.append(await renew(session_store, value, **options))
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(act)
        await passing(clock, 60, done)
        assert done.is_set()
    return results[0]


async def test_a_rotated_value_that_cannot_be_saved_is_used_and_saved_later():
    clock = ManualClock()
    store = Sick(clock)
    store.before = True
    (session_store,) = session_stores(1, store, clock)
    with capture_logs() as logs:
        assert not await renew_in_vain(session_store, clock, "ts-2")
    assert [entry for entry in logs if entry["log_level"] == "error"] == [
        {"event": "rotated_session_save_failed", "log_level": "error", "account": "one"}
    ]
    assert (psidts(session_store), session_store.unsaved) == ("ts-2", True)
    with pytest.raises(OSError, match="before"):
        await session_store.load()
    store.before = False
    assert not await session_store.load()
    assert not session_store.unsaved
    other = SessionStore("one", SEED, store, clock)
    assert await other.load()
    assert psidts(other) == psidts(session_store) == "ts-2"


async def test_a_write_whose_answer_was_lost_is_detected():
    clock = ManualClock()
    store = Sick(clock)
    store.after = True
    (session_store,) = session_stores(1, store, clock)
    assert await renew_in_vain(session_store, clock, "ts-2")
    assert (psidts(session_store), session_store.saved.ver, session_store.unsaved) == ("ts-2", 1, False)
    assert session_store.record == (await store.get(SESSIONS, "one")).version == 1


async def test_a_rotated_value_wins_over_added_cookies_of_another_process():
    clock = ManualClock()
    ours, theirs = session_stores(clock=clock)
    sent = ours.saved
    await theirs.merge_cookies(["SIDCC=a"], since=0)
    clock.advance(60)
    await theirs.merge_cookies(["SIDCC=b"], since=0)
    assert await renew(ours, "ts-2", sent=sent)
    assert (psidts(ours), ours.saved.ver) == ("ts-2", 3)
    await theirs.load()
    assert psidts(theirs) == "ts-2"


async def test_of_two_rotations_the_later_one_wins():
    store = MemoryStore(ManualClock())
    ours, theirs = session_stores(store=store)
    sent = ours.saved
    await renew(theirs, "later", at=50.0)
    await renew(ours, "earlier", at=1.0, sent=sent)
    assert psidts(ours) == psidts(theirs) == "later"
    assert (await store.get(SESSIONS, "one")).version == 1


async def test_a_store_that_lost_its_last_writes_is_restored():
    clock = ManualClock()
    store = MemoryStore(clock)
    ours, theirs = session_stores(2, store, clock)
    await renew(ours, "ts-2")
    forgotten = await store.get(SESSIONS, "one")
    await renew(ours, "ts-3", at=9.0)
    await store.put(SESSIONS, "one", forgotten.value)  # a failover
    await theirs.load()
    assert psidts(theirs) == "ts-2"
    assert not await ours.load()
    await theirs.load()
    assert psidts(theirs) == psidts(ours) == "ts-3"


async def test_an_empty_store_is_restored_from_the_newest_copy():
    clock = ManualClock()
    shared, copies = MemoryStore(clock), [MemoryStore(clock), MemoryStore(clock)]
    older, newer = (SessionStore("one", SEED, shared, clock, copy) for copy in copies)
    await renew(older, "ts-2")
    await newer.load()
    await renew(newer, "ts-3", at=9.0)
    empty = MemoryStore(clock)
    first = SessionStore("one", SEED, empty, clock, copies[0])
    assert await first.load()
    assert psidts(first) == "ts-2"
    second = SessionStore("one", SEED, empty, clock, copies[1])
    await second.load()
    third = SessionStore("one", SEED, empty, clock, copies[0])
    await third.load()
    assert psidts(second) == psidts(third) == "ts-3"


class Down(MemoryStore):
    """Cannot be reached."""

    async def get(self, place, key):
        raise StoreDown("down")


async def test_without_the_store_the_session_comes_from_the_copy_or_the_export():
    clock = ManualClock()
    copy = MemoryStore(clock)
    await renew(SessionStore("one", SEED, MemoryStore(clock), clock, copy), "ts-2")
    for session_store, value in (
        (SessionStore("one", SEED, Down(clock), clock, copy), "ts-2"),
        (*session_stores(1, Down(clock), clock), "ts-1"),
    ):
        with pytest.raises(OSError, match="down"):
            await session_store.load()
        assert psidts(session_store) == value


async def test_a_changed_export_wins_over_the_copy():
    clock = ManualClock()
    store, copy = MemoryStore(clock), MemoryStore(clock)
    await renew(SessionStore("one", SEED, store, clock, copy), "ts-2")
    session_store = SessionStore("one", {**SEED, "NID": "1"}, MemoryStore(clock), clock, copy)
    await session_store.load()
    assert (session_store.cookies, session_store.saved.gen) == ({**SEED, "NID": "1"}, 2)


async def test_a_copy_that_cannot_be_written_does_not_prevent_saving():
    clock = ManualClock()
    store, copy = MemoryStore(clock), Sick(clock)
    copy.before = True
    session_store = SessionStore("one", SEED, store, clock, copy)
    with capture_logs() as logs:
        assert await renew(session_store, "ts-2")
    assert {entry["event"] for entry in logs} == {"session_replica_write_failed"}
    assert psidts(session_store) == "ts-2"
    copy.before = False
    await session_store.load()
    assert (await copy.get(SESSIONS, "one")) is not None


async def test_the_stored_session_is_read_again_after_a_minute():
    clock = ManualClock()
    ours, theirs = session_stores(clock=clock)
    await ours.load()
    await renew(theirs, "ts-2")
    assert not await ours.load_if_old()
    clock.advance(60)
    assert await ours.load_if_old()


async def test_a_rolling_cookie_is_saved_after_its_request_is_cancelled():
    class Slow(MemoryStore):
        async def get(self, place, key):
            await anyio.lowlevel.checkpoint()
            return await super().get(place, key)

    store = Slow(ManualClock())
    (session_store,) = session_stores(1, store)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(session_store.merge_cookies, ["__Secure-1PSIDTS=ts-2"], since=0))
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert psidts(session_store) == "ts-2"
    (other,) = session_stores(1, store)
    await other.load()
    assert psidts(other) == "ts-2"


async def test_a_rolling_cookie_received_while_saving_fails_is_kept():
    clock = ManualClock()
    store = Sick(clock)
    (session_store,) = session_stores(1, store, clock)
    store.before = True
    await session_store.merge_cookies(["__Secure-1PSIDTS=ts-2"], since=session_store.version)
    await session_store.merge_cookies(["SIDCC=a"], since=session_store.version)
    await session_store.merge_cookies(["__Secure-1PSIDTS=ts-3"], since=session_store.version)
    assert (psidts(session_store), session_store.unsaved) == ("ts-3", True)
    store.before = False
    assert await session_store.save(1.0)
    (other,) = session_stores(1, store, clock)
    await other.load()
    assert psidts(other) == "ts-3"


async def test_saving_is_retried_every_second():
    clock = ManualClock()
    store = Sick(clock)
    (session_store,) = session_stores(1, store, clock)
    async with background_tasks() as tasks:
        tasks.start_soon(flush, session_store, clock)
        store.before = True
        await session_store.merge_cookies(["__Secure-1PSIDTS=ts-2"], since=session_store.version)
        for _ in range(90):
            await clock.until_asleep()
            clock.advance(1)
            await anyio.wait_all_tasks_blocked()
        assert session_store.unsaved
        store.before = False
        clock.advance(1)
        await anyio.wait_all_tasks_blocked()
        assert not session_store.unsaved
        tasks.cancel_scope.cancel()


async def test_shutdown_waits_for_an_unsaved_value():
    clock = ManualClock()
    store = Sick(clock)
    (session_store,) = session_stores(1, store, clock)
    store.before = True
    await session_store.merge_cookies(["__Secure-1PSIDTS=ts-2"], since=session_store.version)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flush, session_store, clock)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await clock.until_asleep(1)
            store.before = False
            clock.advance(1)
    assert not session_store.unsaved
