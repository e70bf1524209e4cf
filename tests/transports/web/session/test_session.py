from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from protocol.model import Media, SignedOut, Text, Throttled
from tests.clock import ManualClock
from tests.pools import pool_of
from tests.transports.conftest import asking, connected, deps_for, opened, request_for
from transports import simulator, web
from transports.clock import SystemClock
from transports.failover import Failover as AccountRotation
from transports.retry_policy import FailoverPolicy
from transports.simulator import encode
from transports.store import MemoryStore, StoreDown
from transports.store.port import SESSIONS
from transports.web.session.rotation import SessionRotation

EXPIRED = web.WebAccount(id="one", cookies="__Secure-1PSID=psid-1; __Secure-1PSIDTS=expired", per_minute=0)


def session_of(transport):
    return connected(transport).session


def rotation_of(transport, store, clock):
    session = session_of(transport)
    return SessionRotation(session, session.site.session_store, deps_for(clock, store))


async def ask(transport, text="<echo>ok</echo>"):
    async with asking(transport, request_for(text), transport.accounts[0]) as answer:
        return "".join([event.text async for event in answer if isinstance(event, Text)])


async def ask_at_once(transport, number, text="<echo>ok</echo>"):
    """Send this number of concurrent requests; return the answers and the classes of the errors."""
    results = []

    async def one():
        try:
            results.append(await ask(transport, text))
        except SignedOut as error:
            results.append(error.reason)

    async with anyio.create_task_group() as tasks:
        for _ in range(number):
            tasks.start_soon(one)
    return results


@asynccontextmanager
async def two_workers(open_site, store_type=MemoryStore):
    """Connect two processes' worth of transports to one site and one store."""
    clock = ManualClock()
    store = store_type(clock)
    async with (
        open_site(clock=clock, grace_seconds=60) as site,
        site.connect(deps=deps_for(clock, store), rotate_seconds=0) as one,
        site.connect(deps=deps_for(clock, store), rotate_seconds=0) as two,
    ):
        yield clock, store, site, one, two


async def test_a_stale_session_is_replaced_by_the_rotation_of_another_worker(open_site):
    async with two_workers(open_site) as (clock, store, _, one, two):
        await ask(two)
        await rotation_of(one, store, clock).rotate_now()
        clock.advance(600)  # the old value has expired by now
        assert await ask(two) == "ok"
        assert session_of(two).site.session_store.cookies == session_of(one).site.session_store.cookies


class LateStore(MemoryStore):
    """Runs `after`, once, when a value has been read: what was read is old then."""

    after = None

    async def get(self, place, key):
        found = await super().get(place, key)
        if self.after is not None:
            after, self.after = self.after, None
            await after()
        return found


async def test_a_guest_page_is_fetched_again_after_another_worker_rotated(open_site):
    async with two_workers(open_site, LateStore) as (clock, store, site, one, two):

        async def rotate():
            await rotation_of(one, store, clock).rotate_now()
            clock.advance(600)

        store.after = rotate
        assert await ask(two) == "ok"
        assert await site.seen("bootstrap") == 2


async def test_a_session_that_was_not_renewed_is_tried_once(site):
    async with site.connect(EXPIRED) as transport:
        with pytest.raises(SignedOut):
            await ask(transport)
        assert await site.seen("bootstrap") == 1


class BrokenStore(MemoryStore):
    """A store that fails on request."""

    broken = False

    async def get(self, place, key):
        if self.broken:
            raise StoreDown("out of order")
        return await super().get(place, key)


async def test_a_session_is_fetched_while_the_store_is_down(site):
    store = BrokenStore(ManualClock())
    async with site.connect(deps=deps_for(store=store), refresh_seconds=0) as transport:
        store.broken = True
        with capture_logs() as logs:
            assert await ask(transport) == "ok"
        assert {"event": "session_load_failed", "log_level": "warning", "account": "one"} in logs


async def test_waiting_callers_share_a_failure_and_later_callers_do_not(site):
    async with site.connect(EXPIRED) as transport:
        assert await ask_at_once(transport, 20) == ["signed_out"] * 20
        assert await site.seen("bootstrap") == 1
        assert await ask_at_once(transport, 1) == ["signed_out"]
        assert await site.seen("bootstrap") == 2


async def test_concurrent_refusals_fetch_the_session_once(site):
    async with site.connect(rotate_seconds=0) as transport:
        await ask(transport)
        for where in ("generate", "app"):
            await site.order(where=where, status=302, times=1000)
        assert await ask_at_once(transport, 20) == ["signed_out"] * 20
        assert await site.seen("bootstrap") == 2


def answering(session, rpc, change):
    """Have `change` make the answer to an RPC from what the site answers."""
    call = session.site.call

    async def changed(method, url, headers, **options):
        answer = await call(method, url, headers, **options)
        return change(*answer) if options.get("params", {}).get("rpcids") == rpc else answer

    session.site.call = changed


def rejected(rpc, reason):
    part = ["wrb.fr", rpc, None, None, None, [reason], "generic"]
    return lambda status, headers, _: (status, headers, encode.PREFIX + encode.frame(part) + encode.end(1))


@pytest.mark.parametrize(
    "change",
    [
        rejected("otAQ7b", 3),
        rejected("otAQ7b", 5),
        rejected("otAQ7b", 13),
        lambda status, headers, _: (status, headers, encode.PREFIX + encode.end(1)),
        lambda status, headers, _: (status, headers, b"not frames"),
        lambda _, headers, body: (500, headers, body),
        lambda _, headers, body: (503, headers, body),
        lambda _, headers, body: (404, headers, body),
        lambda _, headers, body: (405, headers, body),
    ],
    ids=["3", "5", "13", "missing", "unknown form", "500", "503", "404", "405"],
)
async def test_an_account_with_an_unknown_status_still_serves(site, change):
    async with site.connect() as transport:
        answering(session_of(transport), "otAQ7b", change)
        ready = await session_of(transport).ready()
        assert (ready.status.known, ready.status.problem) == (False, None)
        assert session_of(transport).plan == ""


async def test_a_missing_status_keeps_the_last_known_one(site):
    async with site.connect() as transport:
        session = session_of(transport)
        before = (await session.ready()).status
        answering(session, "otAQ7b", rejected("otAQ7b", 13))
        await session.forget()
        assert (await session.ready()).status == before
        assert await ask(transport) == "ok"


async def test_an_account_that_is_denied_its_status_is_signed_out(site):
    async with site.connect() as transport:
        answering(session_of(transport), "otAQ7b", rejected("otAQ7b", 7))
        with pytest.raises(SignedOut) as caught:
            await ask(transport)
        assert caught.value.reason == "signed_out"


async def test_a_rate_limited_status_call_rate_limits_the_account(site):
    async with site.connect() as transport:
        answering(session_of(transport), "otAQ7b", lambda _, headers, body: (429, headers, body))
        with pytest.raises(Throttled):
            await ask(transport)


async def test_a_session_treated_as_a_guest_is_detected_before_a_turn(open_site):
    clock = ManualClock()
    async with open_site(clock=clock) as site, site.connect(deps=deps_for(clock), rotate_seconds=0) as transport:
        await ask(transport)
        clock.advance(2000)  # it is not renewed in time; our token and page are still here
        with pytest.raises(SignedOut):
            await ask(transport)
        assert await site.seen("generate") == 1


async def test_an_account_that_may_not_ping_is_checked_once_and_serves(site):
    async with site.connect(activity_seconds=0.0001) as transport:
        answering(session_of(transport), "ESY5D", rejected("ESY5D", 7))
        assert [await ask(transport) for _ in range(3)] == ["ok"] * 3
        assert await site.seen("bootstrap") == 2


async def test_a_session_that_cannot_be_fetched_fails_over_to_another_account(open_site):
    accounts = [simulator.SimulatedAccount(psid=f"p{n}", psidts=f"t{n}") for n in (1, 2)]
    known = [web.WebAccount(id=f"a{n}", cookies=simulator.export_of(a)) for n, a in enumerate(accounts, 1)]
    clock, request = SystemClock(), request_for("a cat", "gemini-3-pro-imagen")
    async with open_site(*accounts) as site, site.connect(*known) as transport:
        rotation = AccountRotation(
            transport, pool_of(transport.accounts, clock, queue_timeout_seconds=1.0), FailoverPolicy()
        )
        await site.order(where="app", status=500)
        async with opened(rotation, request, 30) as exchange:
            assert [event async for event in exchange if isinstance(event, Media)]
        assert await site.seen("bootstrap") == 2
        assert await site.seen("generate") == 1


@pytest.mark.parametrize("tag", ['http="401"', 'http="403"', 'http="302"'])
async def test_a_refused_session_is_fetched_again_and_the_request_retried(site, tag):
    async with site.connect() as transport:
        await ask(transport)
        assert await ask(transport, f'<sim {tag} once="a"/><echo>mended</echo>') == "mended"
        assert await site.seen("bootstrap") == 2


async def test_a_session_refused_twice_is_dropped_and_needs_attention(site):
    async with site.connect() as transport:
        with pytest.raises(SignedOut):
            await ask(transport, '<sim http="401"/>')
        assert await site.seen("generate") == 2
        assert session_of(transport).current is None


@pytest.mark.parametrize(
    "tag", ['http="302" location="https://consent.google.com/m"', 'html="true"'], ids=["consent", "page"]
)
async def test_a_page_instead_of_an_answer_is_not_retried_and_drops_the_session(site, tag):
    async with site.connect() as transport:
        with pytest.raises(SignedOut):
            await ask(transport, f"<sim {tag}/>")
        assert await site.seen("generate") == 1
        assert session_of(transport).current is None


async def test_cookies_of_a_page_are_dropped_if_the_session_was_renewed_meanwhile(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with open_site(clock=clock) as site, site.connect(deps=deps_for(clock, store), rotate_seconds=0) as transport:
        session = session_of(transport)
        call = session.site.call

        async def slow(method, url, headers, **options):
            status, answered, body = await call(method, url, headers, **options)
            if url.endswith("/app"):
                session.site.call = call
                tasks.start_soon(rotation_of(transport, store, clock).rotate_now)
                while not session.site.session_store.renewals:
                    await anyio.lowlevel.checkpoint()
                answered = answered.copy()
                answered.add("Set-Cookie", "__Secure-1PSIDTS=late; Domain=.google.com")
                answered.add("Set-Cookie", "SIDCC=late; Domain=.google.com")
            return status, answered, body

        session.site.call = slow
        async with anyio.create_task_group() as tasks:
            await ask(transport)
        assert "late" not in session.site.session_store.cookies.values()
        assert await ask(transport) == "ok"


async def test_a_guest_page_sets_no_cookie_of_the_account(site):
    async with site.connect(EXPIRED) as transport:
        session = session_of(transport)
        call = session.site.call

        async def guests(method, url, headers, **options):
            status, answered, body = await call(method, url, headers, **options)
            answered = answered.copy()
            answered.add("Set-Cookie", "NID=guests; Domain=.google.com")
            return status, answered, body

        session.site.call = guests
        with pytest.raises(SignedOut):
            await ask(transport)
        assert "NID" not in session.site.session_store.cookies


async def test_an_account_that_needs_attention_is_retried_after_another_worker_renewed_it(open_site):
    async with two_workers(open_site) as (clock, store, site, one, two):
        pool = pool_of(two.accounts, clock, queue_timeout_seconds=1.0)
        rotation = AccountRotation(two, pool, FailoverPolicy())

        async def ask_pool():
            async with opened(rotation, request_for("<echo>ok</echo>"), 30) as exchange:
                return "".join([event.text async for event in exchange if isinstance(event, Text)])

        # the rotation is done, and lost on its way to the other worker
        theirs = MemoryStore(clock)
        await SessionRotation(session_of(one), session_of(one).site.session_store, deps_for(clock, theirs)).rotate_now()
        found = await store.get(SESSIONS, "one")
        await store.remove(SESSIONS, "one")
        clock.advance(600)
        with pytest.raises(SignedOut):
            await ask_pool()
        with pytest.raises(SignedOut):
            await ask_pool()
        assert await site.seen("bootstrap") == 1
        await store.put(SESSIONS, "one", found.value)
        await rotation_of(two, store, clock).rotate_now()  # its own turn finds what was stored
        assert await ask_pool() == "ok"


async def test_a_session_renewed_while_its_page_was_refused_is_fetched_again(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with open_site(clock=clock) as site, site.connect(deps=deps_for(clock, store), rotate_seconds=0) as transport:
        session = session_of(transport)
        call = session.site.call

        async def refused(method, url, headers, **options):
            session.site.call = call
            tasks.start_soon(rotation_of(transport, store, clock).rotate_now)
            while not session.site.session_store.renewals:
                await anyio.lowlevel.checkpoint()
            return 200, {}, b"<html>Sign in</html>"

        session.site.call = refused
        async with anyio.create_task_group() as tasks:
            assert await ask(transport) == "ok"


async def test_a_rotation_result_does_not_apply_to_a_newer_session(open_site):
    async with two_workers(open_site) as (clock, store, _, one, two):
        await ask(two)
        await session_of(two).report_signed_out(SignedOut("gone", reason="signed_out"))
        await rotation_of(one, store, clock).rotate_now()
        clock.advance(60)
        assert await ask(two) == "ok"


async def test_a_page_instead_of_an_answer_is_retried_after_another_worker_renewed_the_session(open_site):
    async with two_workers(open_site) as (clock, store, site, one, two):
        await ask(two)
        session = session_of(two)
        ping = session.ping

        async def refused(ready):
            session.ping = ping
            await rotation_of(one, store, clock).rotate_now()
            raise SignedOut("a page instead of an answer", reason="signed_out")

        session.ping = refused
        assert await ask(two) == "ok"
        assert await site.seen("bootstrap") == 2
