import pytest

from protocol.model import Finish, Media, Text, UpstreamFailed
from protocol.model import Refused as RefusedError
from tests.transports.conftest import asking, request_for
from transports import simulator, web

MODEL = "gemini-3-pro-imagen"
REFUSED = '<sim error="1003" once="1"/> a lighthouse'
WORDS_ONLY = '<sim refuse="safety" once="1"/> a lighthouse'


async def tell(transport, text, model=MODEL):
    async with asking(transport, request_for(text, model), transport.accounts[0]) as answer:
        return [event async for event in answer]


def pictures(events):
    return [event for event in events if isinstance(event, Media)]


def said(events):
    return "".join(event.text for event in events if isinstance(event, Text)).strip()


@pytest.mark.parametrize("reuse_seconds", [0, 1800])
@pytest.mark.parametrize("text", [REFUSED, WORDS_ONLY])
async def test_an_answer_without_an_image_is_retried_in_words_only(open_site, text, reuse_seconds):
    async with open_site(profile="site") as site:
        async with site.connect(reuse_seconds=reuse_seconds) as transport:
            events = await tell(transport, text)
            assert len(pictures(events)) == 1
            assert isinstance(events[-1], Finish)
            assert "can't" not in said(events)
        assert await site.seen("generate") == 2


async def test_only_the_conversation_without_an_image_is_deleted(open_site):
    async with open_site(profile="site") as site:
        async with site.connect(reuse_seconds=1800) as transport:
            await tell(transport, WORDS_ONLY)
        assert await site.seen("rpc_GzXR5e") == 1


async def test_an_answer_with_an_image_is_not_retried(site):
    async with site.connect() as transport:
        events = await tell(transport, "a lighthouse")
    assert len(pictures(events)) == 1
    assert said(events)
    assert await site.seen("generate") == 1


async def test_an_image_refused_twice_is_an_error(site):
    async with site.connect() as transport:
        with pytest.raises(RefusedError):
            await tell(transport, '<sim error="1003"/> a lighthouse')
    assert await site.seen("generate") == 2


async def test_of_two_answers_without_an_image_one_is_delivered(site):
    async with site.connect() as transport:
        events = await tell(transport, '<sim refuse="safety"/> a lighthouse')
    assert said(events).count("can't help") == 1
    assert sum(isinstance(event, Finish) for event in events) == 1
    assert await site.seen("generate") == 2


async def test_the_first_answer_is_delivered_if_the_retry_fails(open_site):
    account = simulator.SimulatedAccount(psid="psid-1", psidts="psidts-1", quota=1)
    async with open_site(account) as site, site.connect() as transport:
        assert "can't help" in said(await tell(transport, '<sim refuse="safety"/> a lighthouse'))
        assert await site.seen("generate") == 2


@pytest.mark.parametrize("tools", [web.Tools(image_retry=False), web.Tools(image=0)])
async def test_a_setting_disables_the_retry(open_site, tools):
    async with open_site(profile="site") as site, site.connect(tools=tools) as transport:
        assert "can't help" in said(await tell(transport, '<sim refuse="safety"/> a lighthouse'))
        with pytest.raises(RefusedError):
            await tell(transport, '<sim error="1003"/> a lighthouse')
        assert await site.seen("generate") == 2


async def test_without_a_tool_number_the_prompt_asks_for_an_image(open_site):
    async with open_site(profile="site") as site, site.connect(tools=web.Tools(image=0)) as transport:
        assert len(pictures(await tell(transport, "a lighthouse"))) == 1
        assert await site.seen("generate") == 1


async def test_a_truncated_answer_is_not_retried(site):
    async with site.connect() as transport:
        with pytest.raises(UpstreamFailed):
            await tell(transport, '<sim drop-after="1"/> a lighthouse')
    assert await site.seen("generate") == 1


async def test_a_chat_without_an_image_is_not_retried(site):
    async with site.connect() as transport:
        await tell(transport, "<echo>Only words.</echo>", "gemini-3-pro")
        with pytest.raises(RefusedError):
            await tell(transport, '<sim error="1003"/> a lighthouse', "gemini-3-pro")
    assert await site.seen("generate") == 2
