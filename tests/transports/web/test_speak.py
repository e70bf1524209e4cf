import aiohttp
import anyio
import pytest

from protocol.model import Text, UpstreamFailed
from tests.transports.conftest import request_for
from transports.simulator import emit
from transports.web.errors import StaleToken

PAGES = ["SNlM0e", "thykhd", "absent", "cycle"]


async def ask(transport, text="<echo>ok</echo>", model="gemini-3-pro"):
    async with transport.open(request_for(text, model), transport.accounts[0]) as answer:
        return "".join([event.text async for event in answer if isinstance(event, Text)])


async def order(site, **fault):
    async with aiohttp.ClientSession() as session, session.post(f"{site.base}/simulator/faults", json=fault) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("page", PAGES)
async def test_an_account_answers_whatever_way_its_page_carries_the_token(open_site, page):
    async with open_site(page_token=page) as site, site.connect() as transport:
        assert [await ask(transport) for _ in range(3)] == ["ok"] * 3
        session = transport._accounts.sessions["one"]
        await session.forget()
        assert await ask(transport) == "ok"
        assert (await site.state())["departures"] == []


async def test_a_token_from_a_refusal_serves_all_calls_from_then_on(open_site):
    async with open_site(page_token="absent") as site, site.connect(activity_seconds=0) as transport:
        session = transport._accounts.sessions["one"]
        refusals = []
        keep = session.site.keep
        session.site.keep = lambda error: (refusals.append(error), keep(error))
        for _ in range(3):
            assert await ask(transport) == "ok"
        await session.forget()  # the next page has no token either
        assert await ask(transport) == "ok"
        assert len(refusals) == 1


@pytest.mark.parametrize("page", PAGES)
async def test_a_turn_whose_token_has_ended_is_sent_once_more(open_site, page):
    async with open_site(page_token=page) as site, site.connect(activity_seconds=0) as transport:
        await ask(transport)
        await order(site, where="token")
        before = await site.state()
        results = []

        async def one():
            results.append(await ask(transport))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(one)
        assert results == ["ok"] * 5
        after = await site.state()
        assert after["seen"]["bootstrap"] == before["seen"]["bootstrap"]
        assert after["departures"] == []


async def test_a_token_that_the_site_refuses_again_ends_the_request_with_this_account(site):
    async with site.connect(activity_seconds=0) as transport:
        await ask(transport)
        session = transport._accounts.sessions["one"]
        sent = await site.seen("generate")
        session.site.keep = lambda error: order_again(error, session)

        def order_again(error, session):
            session.site.access_token = "not this one either"

        session.site.access_token = "old"
        with pytest.raises(StaleToken) as caught:
            await ask(transport)
        assert caught.value.code == "upstream_rejected"
        assert await site.seen("generate") == sent + 2


async def test_a_build_that_the_site_has_left_is_read_from_the_page_once_for_all_who_need_it(site):
    async with site.connect(activity_seconds=0) as transport:
        await ask(transport)
        await order(site, where="build")
        before = await site.seen("bootstrap")
        results = []

        async def one():
            results.append(await ask(transport))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(one)
        assert results == ["ok"] * 5
        assert await site.seen("bootstrap") == before + 1


async def test_a_build_that_is_refused_again_ends_the_request_with_this_account(site):
    async with site.connect() as transport:
        with pytest.raises(UpstreamFailed) as caught:
            await ask(transport, '<sim http="405"/>')
        assert caught.value.code == "upstream_rejected"
        assert await site.seen("generate") == 2
        assert await site.seen("bootstrap") == 2


async def test_a_token_is_dropped_with_its_page_when_the_stream_says_that_it_is_stale(open_site):
    async with open_site(page_token="absent") as site, site.connect() as transport:
        await ask(transport)
        session = transport._accounts.sessions["one"]
        assert session.site.access_token
        await session.forget_token(session.current)
        assert session.site.access_token is None
        assert session.current is None
        assert await ask(transport) == "ok"


async def test_a_refusal_whose_body_does_not_end_is_not_read_to_its_end(site, monkeypatch):
    body = emit.refused("AK:good", "1")
    monkeypatch.setattr("transports.web.generate.LONGEST_REFUSAL", len(body))
    async with site.connect(activity_seconds=0) as transport:
        session = transport._accounts.sessions["one"]
        await ask(transport)
        session.site.access_token = "old"
        assert await ask(transport) == "ok"
