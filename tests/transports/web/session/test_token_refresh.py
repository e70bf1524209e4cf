from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from protocol.model import SignedOut
from tests.clock import ManualClock
from tests.transports.conftest import asking, connected, deps_for, request_for
from transports import web


async def ask(transport):
    async with asking(transport, request_for("<echo>ok</echo>"), transport.accounts[0]) as answer:
        return [event async for event in answer]


@asynccontextmanager
async def fresh(open_site, **settings):
    """Connect a transport that fetches tokens ahead, to a site of the same clock."""
    clock = ManualClock()
    async with open_site(clock=clock, session_seconds=0) as site:
        async with site.connect(
            deps=deps_for(clock), **{"rotate_seconds": 0, "refresh_seconds": 1200, "guest": False, **settings}
        ) as transport:
            yield clock, site, transport


async def until(condition):
    with anyio.fail_after(60):
        while not await condition():
            await anyio.sleep(0.001)


def fetched(site, times):
    async def condition():
        return await site.seen("bootstrap") == times

    return condition


def session_of(transport):
    return connected(transport).session


async def start(clock, site):
    """Have the tokens fetched that are fetched at the start."""
    await clock.until_asleep()
    clock.advance(10)
    await until(fetched(site, 1))


async def settled(clock):
    """Wait until the token refresh sleeps again."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()
    await clock.until_asleep()


async def test_tokens_are_fetched_at_startup(open_site):
    async with fresh(open_site) as (clock, site, transport):
        await start(clock, site)
        await ask(transport)
        assert await site.seen("bootstrap") == 1


async def test_tokens_of_a_used_account_are_refreshed_before_they_expire(open_site):
    async with fresh(open_site) as (clock, site, transport):
        await start(clock, site)
        await ask(transport)
        first = session_of(transport).current
        clock.advance(1201)
        await until(fetched(site, 2))
        assert session_of(transport).current is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, transport)
        assert session_of(transport).current is not first


async def test_an_unused_account_is_not_refreshed(open_site):
    async with fresh(open_site) as (clock, site, _):
        await start(clock, site)
        await settled(clock)
        for _ in range(5):
            clock.advance(1300)
            await settled(clock)
        assert await site.seen("bootstrap") == 1


async def test_dropped_tokens_are_fetched_at_once(open_site):
    async with fresh(open_site) as (clock, site, transport):
        await start(clock, site)
        await ask(transport)
        await settled(clock)
        await session_of(transport).forget()
        await until(fetched(site, 2))
        await ask(transport)
        assert await site.seen("bootstrap") == 2


async def test_a_request_does_not_wait_for_a_refresh(open_site):
    async with fresh(open_site) as (clock, site, transport):
        await start(clock, site)
        await ask(transport)
        session, gate = session_of(transport), anyio.Event()
        page = session.page

        async def slow():
            await gate.wait()
            return await page()

        session.page = slow
        first = session.current
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.refresh)
            await anyio.lowlevel.checkpoint()
            with anyio.fail_after(60):
                assert await session.ready() is first
                await ask(transport)
            gate.set()
        assert session.current is not first


async def test_tokens_of_a_signed_out_session_are_dropped_and_rarely_fetched_again(open_site):
    async with fresh(open_site) as (clock, site, transport):
        await start(clock, site)
        await ask(transport)
        await settled(clock)
        await site.order(where="app", html=True, times=10)
        clock.advance(1201)
        await until(fetched(site, 2))
        with anyio.fail_after(60):
            while session_of(transport).current is not None:
                await anyio.lowlevel.checkpoint()
        await settled(clock)
        for _ in range(20):
            clock.advance(20)
            await settled(clock)
        assert await site.seen("bootstrap") <= 5
        with pytest.raises(SignedOut):
            await ask(transport)


async def test_without_background_refreshes_a_request_fetches_the_tokens(open_site):
    async with fresh(open_site, refresh_seconds=0) as (clock, site, transport):
        clock.advance(5000)
        assert await site.seen("bootstrap") == 0
        await ask(transport)
        assert await site.seen("bootstrap") == 1


@asynccontextmanager
async def reporting(open_site, **settings):
    """Connect a transport whose reports are kept."""
    clock, reports = ManualClock(), []
    deps = replace(deps_for(clock), report=reports.append)
    own = {"rotate_seconds": 0, "refresh_seconds": 1200, "guest": False, **settings}
    async with open_site(clock=clock, session_seconds=0) as site, site.connect(deps=deps, **own) as transport:
        yield clock, site, transport, reports


def reasons(reports):
    return [(one.account, one.check, one.error.reason if one.error else None) for one in reports]


async def reported(reports, number):
    async def condition():
        return len(reports) >= number

    await until(condition)


async def test_an_account_that_needs_attention_is_checked_again_and_its_recovery_reported(open_site):
    async with reporting(open_site) as (clock, site, _, reports):
        await site.order(where="app", status=302, location="https://consent.google.com/m", times=2)
        await start(clock, site)
        await reported(reports, 1)
        for seconds in (60, 120):
            await settled(clock)
            clock.advance(seconds)
            await reported(reports, len(reports) + 1)
        assert reasons(reports) == [("one", "session", "consent")] * 2 + [("one", "session", None)]


async def test_an_account_is_checked_at_once_when_another_process_renewed_its_session(open_site):
    async with reporting(open_site) as (clock, site, transport, reports):
        await site.order(where="app", status=302)
        await start(clock, site)
        await reported(reports, 1)
        await settled(clock)
        session = session_of(transport)
        session_store = session.site.session_store
        await session_store.renew(session_store.saved, ["__Secure-1PSIDTS=psidts-1b"], at=clock.wall(), by="another")
        await session.forget()
        await reported(reports, 2)
        assert await site.seen("bootstrap") == 2


async def test_a_replaced_session_reports_nothing(open_site):
    async with reporting(open_site) as (clock, site, transport, reports):
        await start(clock, site)
        await reported(reports, 1)
        old = session_of(transport)
        account = web.WebAccount(id="one", cookies="__Secure-1PSID=psid-1; __Secure-1PSIDTS=psidts-1; NID=2")
        hosts = web.Hosts(site=site.base, accounts=site.base, upload=site.base)
        config = web.WebConfig(accounts=(account,), hosts=hosts, guest=False)
        await transport.reload(config)
        await reported(reports, 2)  # the new one is looked at without a wait
        assert session_of(transport) is not old
        await old.report_signed_out(SignedOut("dead", reason="bound"))
        assert reasons(reports) == [("one", "session", None)] * 2


async def test_without_background_refreshes_a_session_reports_nothing(open_site):
    async with reporting(open_site, refresh_seconds=0) as (_, site, transport, reports):
        await site.order(where="app", status=302, times=9)
        with pytest.raises(SignedOut):
            await ask(transport)
        assert reports == []
