"""Conversations gone on with, against the simulated site, which refuses a place that it does not know."""

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.model import Caller, Finish, Role, Text, TextPart, Turn
from tests.clock import ManualClock
from tests.transports.conftest import deps_for, request_for
from transports import simulator, web
from transports.pool import MemoryConversations
from transports.web.turns import Chats


def turn(role, text):
    return Turn(role=Role(role), parts=(TextPart(text=text),))


def asked(*texts, **more):
    """Return a request whose turns are the user's and the assistant's, by turns."""
    turns = tuple(turn("user" if number % 2 == 0 else "assistant", text) for number, text in enumerate(texts))
    return msgspec.structs.replace(request_for("x"), turns=turns, **more)


async def say(transport, request, account=0):
    async with transport.open(request, transport.accounts[account]) as answer:
        return "".join([event.text async for event in answer if isinstance(event, Text)])


def chats_of(transport, account="one"):
    return Chats(transport._sessions[account])


async def saved(transport):
    """Return the prompts of each conversation that the site keeps, oldest first."""
    chats = chats_of(transport)
    found = [await chats.turns(chat.cid) for chat in await chats.latest()]
    return [[said.prompt for said in reversed(turns)] for turns in found]


async def until(site, what, count):
    with anyio.fail_after(10):
        while await site.seen(what) < count:
            pass


@pytest.fixture
async def opened(site):
    async with site.connect(reuse_seconds=600) as transport:
        yield site, transport


async def test_a_history_that_is_a_known_conversation_sends_only_what_is_new(opened):
    _, transport = opened
    assert await say(transport, asked("<echo>one</echo>")) == "one"
    assert await transport.home(asked("<echo>one</echo>", "one", "x")) == "one"
    assert await say(transport, asked("<echo>one</echo>", "one", "<echo>two</echo>")) == "two"
    third = asked("<echo>one</echo>", "one", "<echo>two</echo>", "two", "<echo>three</echo>")
    assert await say(transport, third) == "three"
    assert await saved(transport) == [["<echo>one</echo>", "<echo>two</echo>", "<echo>three</echo>"]]


async def test_any_other_history_is_sent_whole(opened):
    _, transport = opened
    await say(transport, asked("<echo>one</echo>"))
    others = [
        asked("<echo>one</echo>", "edited", "<echo>two</echo>"),
        asked("<echo>other</echo>", "one", "<echo>two</echo>"),
        asked("<echo>one</echo>", "one", "<echo>two</echo>", caller=Caller(id="somebody else")),
    ]
    for request in others:
        assert await transport.home(request) is None
        assert await say(transport, request) == "two"
    assert all(len(chat) == 1 for chat in await saved(transport))


async def test_two_requests_never_go_on_from_the_same_place(opened):
    _, transport = opened
    await say(transport, asked("<echo>one</echo>"))
    again = asked("<echo>one</echo>", "one", "<echo>two</echo>")
    assert await say(transport, again) == "two"
    assert await say(transport, again) == "two"
    assert sorted(map(len, await saved(transport))) == [1, 2]


async def test_another_account_gets_the_whole_history(open_site):
    first, second = (simulator.SimulatedAccount(psid=f"p{n}", psidts=f"t{n}") for n in (1, 2))
    accounts = tuple(
        web.WebAccount(id=name, cookies=simulator.export_of(account), per_minute=0)
        for name, account in (("one", first), ("two", second))
    )
    async with open_site(first, second) as site, site.connect(*accounts, reuse_seconds=600) as transport:
        await say(transport, asked("<echo>one</echo>"))
        request = asked("<echo>one</echo>", "one", "<echo>two</echo>")
        assert await transport.home(request) == "one"
        assert await say(transport, request, account=1) == "two"


async def test_a_conversation_that_the_site_forgot_is_begun_anew(opened):
    _, transport = opened
    await say(transport, asked("<echo>one</echo>"))
    chats = chats_of(transport)
    await chats.delete(*(chat.cid for chat in await chats.latest()))
    assert await say(transport, asked("<echo>one</echo>", "one", "<echo>two</echo>")) == "two"


async def test_an_answer_that_was_not_read_to_its_end_is_deleted_and_not_gone_on_with(opened):
    site, transport = opened
    request = asked("<echo>one</echo>")
    async with transport.open(request, transport.accounts[0]) as answer:
        async for event in answer:
            assert not isinstance(event, Finish)
            break
    await until(site, "rpc_GzXR5e", 1)
    assert await transport.home(asked("<echo>one</echo>", "one", "x")) is None


async def test_conversations_are_deleted_when_their_time_is_over(open_site):
    clock = ManualClock()
    async with open_site(clock=clock) as site:
        deps = deps_for(clock, conversations=MemoryConversations(clock))
        async with site.connect(deps=deps, reuse_seconds=30, rotate_seconds=0) as transport:
            for text in ("one", "two"):
                await say(transport, asked(f"<echo>{text}</echo>"))
            assert len(await saved(transport)) == 2
            await clock.until_asleep()
            clock.advance(61)
            await until(site, "rpc_GzXR5e", 2)
            assert await saved(transport) == []


async def test_without_reuse_chats_are_temporary(site):
    async with site.connect(reuse_seconds=0) as transport:
        await say(transport, asked("<echo>one</echo>"))
        assert await saved(transport) == []


TURNS = st.lists(st.text(st.characters(exclude_characters="<>", exclude_categories=["Cs"]), max_size=30), max_size=3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TURNS, st.booleans())
async def test_the_answer_is_the_same_whether_a_conversation_goes_on_or_not(opened, words, keep):
    """Talk in turns; with `keep` the client sends back what it got, without it something else that looks alike."""
    _, transport = opened
    said = []
    for number, word in enumerate(words):
        said.append(f"{number}<echo>{word}.</echo>")
        answer = await say(transport, asked(*said))
        assert answer == f"{word}."
        said.append(answer if keep else f"{answer} edited")
