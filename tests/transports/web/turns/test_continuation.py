"""Continued conversations at the simulated site, which refuses an unknown position."""

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.model import (
    Blocked,
    CallArguments,
    Caller,
    CallStarted,
    Feature,
    FilePart,
    Finish,
    JsonOutput,
    MediaKind,
    MediaPart,
    MediaRef,
    ModelDowngraded,
    RateLimited,
    Rewritten,
    Role,
    Served,
    SignedOut,
    Text,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    Turn,
    Unsupported,
    UpstreamFailed,
    Usage,
    notice_of,
)
from tests.clock import ManualClock
from tests.transports.conftest import CATALOGUE, asking, connected, deps_for, request_for
from transports import simulator, web
from transports.accounts import Conversations
from transports.accounts.conversations import StoredConversation
from transports.store import MemoryStore
from transports.store.port import CONVERSATIONS
from transports.web.codec.answer import SiteConversation
from transports.web.turns import continuation
from transports.web.turns.continuation import ConversationRecorder, answered, key_of, split_history
from transports.web.turns.saved import Chats
from transports.web.turns.tool_calls import CallGrammar


def turn(role, text, **more):
    return Turn(role=Role(role), parts=(TextPart(text=text),), **more)


def asked(*texts, **more):
    """Return a request whose turns are the user's and the assistant's, by turns."""
    turns = tuple(turn("user" if number % 2 == 0 else "assistant", text) for number, text in enumerate(texts))
    return msgspec.structs.replace(request_for("x"), turns=turns, **more)


async def say(transport, request, account=0):
    async with asking(transport, request, transport.accounts[account]) as answer:
        return "".join([event.text async for event in answer if isinstance(event, Text)])


def chats_of(transport, account="one"):
    return Chats(connected(transport, account).session)


async def saved(transport):
    """Return the prompts of each conversation that the site keeps, oldest first."""
    chats = chats_of(transport)
    found = [await chats.turns(chat.cid) for chat in await chats.latest()]
    return [[said.prompt for said in reversed(turns)] for turns in found]


async def until(site, what, count):
    with anyio.fail_after(60):
        while await site.seen(what) < count:
            pass


@pytest.fixture
async def opened(site):
    async with site.connect(reuse_seconds=600) as transport:
        yield site, transport


async def test_a_known_history_sends_only_its_new_turns(opened):
    _, transport = opened
    assert await say(transport, asked("<echo>one</echo>")) == "one"
    assert await transport.home(asked("<echo>one</echo>", "one", "x")) == "one"
    assert await say(transport, asked("<echo>one</echo>", "one", "<echo>two</echo>")) == "two"
    third = asked("<echo>one</echo>", "one", "<echo>two</echo>", "two", "<echo>three</echo>")
    assert await say(transport, third) == "three"
    assert await saved(transport) == [["<echo>one</echo>", "<echo>two</echo>", "<echo>three</echo>"]]


async def test_an_unknown_history_is_sent_whole(opened):
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


async def test_two_requests_never_continue_from_the_same_turn(opened):
    _, transport = opened
    await say(transport, asked("<echo>one</echo>"))
    again = asked("<echo>one</echo>", "one", "<echo>two</echo>")
    assert await say(transport, again) == "two"
    assert await say(transport, again) == "two"
    assert sorted(map(len, await saved(transport))) == [1, 2]


async def test_a_conversation_answered_by_another_model_is_not_continued(site):
    async with site.connect(reuse_seconds=600, model_mismatch="refuse") as transport:
        await say(transport, asked("<echo>one</echo>"))
        sent = await site.seen("generate")
        with pytest.raises(ModelDowngraded):
            await say(transport, asked("<echo>one</echo>", "one", '<sim answered-by="flash"/><echo>two</echo>'))
        assert await site.seen("generate") == sent + 1  # not as a fresh conversation with the same account
        assert await transport.home(asked("<echo>one</echo>", "one", "x")) is None


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


async def test_a_conversation_deleted_by_the_site_is_started_again(opened):
    _, transport = opened
    await say(transport, asked("<echo>one</echo>"))
    chats = chats_of(transport)
    await chats.delete(*(chat.cid for chat in await chats.latest()))
    assert await say(transport, asked("<echo>one</echo>", "one", "<echo>two</echo>")) == "two"


async def test_a_conversation_whose_answer_was_not_read_is_deleted(opened):
    site, transport = opened
    request = asked("<echo>one</echo>")
    async with asking(transport, request, transport.accounts[0]) as answer:
        async for event in answer:
            assert not isinstance(event, Finish)
            break
    await until(site, "rpc_GzXR5e", 1)
    assert await transport.home(asked("<echo>one</echo>", "one", "x")) is None


LATER = ("<echo>one</echo>", "one")


@pytest.mark.parametrize("tag", ['error="1037"', 'error="1060"', 'error="1053"', 'html="true"', 'http="429"'])
async def test_a_conversation_is_unchanged_after_a_refused_turn(opened, tag):
    site, transport = opened
    await say(transport, asked("<echo>one</echo>"))
    with pytest.raises((RateLimited, Blocked, Unsupported, SignedOut)):
        await say(transport, asked(*LATER, f"<sim {tag}/>"))
    assert await transport.home(asked(*LATER, "x")) == "one"
    assert await say(transport, asked(*LATER, "<echo>two</echo>")) == "two"
    assert await saved(transport) == [["<echo>one</echo>", "<echo>two</echo>"]]
    assert await site.seen("rpc_GzXR5e") == 0


async def test_a_conversation_is_unchanged_if_the_site_was_not_reached(opened):
    _, transport = opened
    await say(transport, asked("<echo>one</echo>"))
    await connected(transport).session.forget()
    connected(transport).session.site.config = msgspec.structs.replace(
        connected(transport).session.site.config, hosts=web.Hosts(site="http://127.0.0.1:9")
    )
    with pytest.raises(UpstreamFailed):
        await say(transport, asked(*LATER, "x"))
    assert await transport.home(asked(*LATER, "x")) == "one"


async def leave(transport, request, site):
    """Leave while nothing has been answered yet."""
    asked_before = await site.seen("generate")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(say, transport, request)
        await until(site, "generate", asked_before + 1)
        tasks.cancel_scope.cancel()


async def test_a_conversation_is_deleted_if_its_next_turn_is_abandoned(opened):
    site, transport = opened
    await say(transport, asked("<echo>one</echo>"))
    await leave(transport, asked(*LATER, '<sim delay="3000"/>'), site)
    await until(site, "rpc_GzXR5e", 1)
    assert await transport.home(asked(*LATER, "x")) is None


@pytest.mark.parametrize("what", ['drop-after="1"', 'eof-after="1"', 'garbage-after="1"'])
async def test_a_new_conversation_without_an_answer_is_deleted(opened, what):
    site, transport = opened
    with pytest.raises(UpstreamFailed):
        await say(transport, asked(f'<sim frames="60" {what}/><echo>`word`</echo>'))
    await until(site, "rpc_GzXR5e", 1)
    assert await saved(transport) == []


async def test_a_conversation_with_a_web_picture_is_continued(opened):
    _, transport = opened
    prompt = '<sim web-images="1"/><echo>one</echo>'
    got = await say(transport, asked(prompt)) + "\n\n![a cat](https://example.com/cat.png)"
    assert await say(transport, asked(prompt, got, "<echo>two</echo>")) == "two"
    assert await saved(transport) == [[prompt, "<echo>two</echo>"]]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_rewritten_answer_is_matched_by_the_delivered_text(opened, streamed):
    _, transport = opened
    request = asked("x", streamed=streamed)
    usage = Usage(input_tokens=1, output_tokens=1)
    rewritten = Rewritten(pieces=(Text(text="the last"),), thoughts="", usage=usage)

    class Answer:
        served = Served(transport="web", account="one")
        conversation = SiteConversation(cid="c_1", rid="r_1", context="ctx")

        @property
        async def events(self):
            yield Text(text="the first")
            yield Finish(reason="stop", usage=usage, rewritten=rewritten)

    recorder = ConversationRecorder(transport.connected.reuse, request, Answer(), CallGrammar(request))
    assert [event async for event in recorder.events()]
    got, other = ("the first", "the last") if streamed else ("the last", "the first")
    assert await transport.home(asked("x", got, "y")) == "one"
    assert await transport.home(asked("x", other, "y")) is None


async def sweep(clock, site, count):
    """Let a minute pass in which this number of deletions is attempted."""
    before = await site.seen("rpc_GzXR5e")
    await clock.until_asleep()
    clock.advance(601)
    await until(site, "rpc_GzXR5e", before + count)


async def test_a_failed_deletion_is_retried_a_limited_number_of_times(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    kept = Conversations(store, clock)
    await kept.keep(b"odd", StoredConversation(account="one", conversation=b"no conversation"), seconds=0)
    async with open_site() as site:
        deps = deps_for(clock, store)
        async with site.connect(deps=deps, reuse_seconds=30, rotate_seconds=0) as transport:
            await say(transport, asked("<echo>one</echo>"))
            await site.order(where="GzXR5e", status=404, times=100)
            for _ in range(5):
                await sweep(clock, site, 1)
            await clock.until_asleep()
            assert await store.keys(CONVERSATIONS) == []


async def test_expired_conversations_are_deleted(open_site):
    clock = ManualClock()
    async with open_site(clock=clock) as site:
        deps = deps_for(clock)
        async with site.connect(deps=deps, reuse_seconds=30, rotate_seconds=0) as transport:
            for text in ("one", "two"):
                await say(transport, asked(f"<echo>{text}</echo>"))
            assert len(await saved(transport)) == 2
            await clock.until_asleep()
            clock.advance(61)
            await until(site, "rpc_GzXR5e", 2)
            assert await saved(transport) == []


async def test_any_number_of_expired_conversations_is_deleted_within_a_minute(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    kept = Conversations(store, clock)
    for number in range(120):
        place = b'{"cid":"c_%d","rid":"r"}' % number
        await kept.keep(b"%d" % number, StoredConversation(account="one", conversation=place), seconds=0)
    async with open_site() as site:
        deps = deps_for(clock, store)
        async with site.connect(deps=deps, reuse_seconds=30, rotate_seconds=0):
            await sweep(clock, site, 120)
    assert await store.keys(CONVERSATIONS) == []


async def test_without_reuse_chats_are_temporary(site):
    async with site.connect(reuse_seconds=0) as transport:
        await say(transport, asked("<echo>one</echo>"))
        assert await saved(transport) == []


TURNS = st.lists(st.text(st.characters(exclude_characters="<>", exclude_categories=["Cs"]), max_size=30), max_size=3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TURNS, st.booleans())
async def test_the_answer_is_the_same_in_a_continued_and_a_new_conversation(opened, words, keep):
    """Talk in turns; with `keep` the client sends back what it got, without it something else that looks alike."""
    _, transport = opened
    said = []
    for number, word in enumerate(words):
        said.append(f"{number}<echo>{word}.</echo>")
        answer = await say(transport, asked(*said))
        assert answer == f"{word}."
        said.append(answer if keep else f"{answer} edited")


SYSTEM, HELLO, HI, NEXT = (
    turn("system", "be kind"),
    turn("user", "hello"),
    turn("assistant", "hi"),
    turn("user", "next"),
)

ASKED = request_for("hello")


REF = MediaRef(transport="web", account="one", kind=MediaKind.IMAGE, url="https://x")


def key(turns, request=ASKED):
    return key_of(request, turns)


def test_a_history_is_split_after_its_last_answer():
    found = split_history((SYSTEM, HELLO, HI, NEXT))
    assert (found.known, found.new) == ((SYSTEM, HELLO, HI), (NEXT,))
    tool = turn("tool", "42", tool_call_id="c1")
    assert split_history((HELLO, HI, NEXT, HI, tool, NEXT)).new == (tool, NEXT)


def test_a_new_chat_continues_no_conversation():
    assert split_history((SYSTEM, HELLO)) is None
    assert split_history((HELLO, HI)) is None


def test_the_next_request_has_the_stored_key():
    request = msgspec.structs.replace(ASKED, turns=(SYSTEM, HELLO))
    assert key(answered(request, "hi")) == key((SYSTEM, HELLO, HI))


@pytest.mark.parametrize(
    "shown",
    [
        "![a \\] cat](http://127.0.0.1:8000/gemini_official/media/AbC-_1)",
        "[a film](http://127.0.0.1:8000/gemini_official/media/AbC-_1)",
        "![a \\[found\\] cat](https://example.com/cat.png?size=1%282%29)",
        notice_of(Feature.IMAGES),
        f"{notice_of(Feature.MUSIC)}\n\n{notice_of(Feature.CANVAS)}",
    ],
)
def test_white_space_and_shown_media_do_not_change_the_key(shown):
    said = turn("assistant", f"Here it is:\n\n{shown}\n")
    assert key((HELLO, said)) == key((HELLO, turn("assistant", "Here it is:")))
    assert key((turn("user", f"hello {shown}"), HI)) != key((HELLO, HI))


def test_links_to_other_hosts_change_the_key():
    assert key((HELLO, turn("assistant", "[x](https://example.com/cat)"))) != key((HELLO, turn("assistant", "")))


def test_many_open_brackets_are_read_quickly():
    said = turn("assistant", "![" * 200_000 + "[](" * 200_000)
    assert key((HELLO, said)) != key((HELLO, HI))


def test_different_media_give_different_keys():
    other = msgspec.structs.replace(REF, url="https://y")
    one, two = (Turn(role=Role.ASSISTANT, parts=(TextPart(text="hi"), MediaPart(ref=ref))) for ref in (REF, other))
    assert len({key((HELLO, said)) for said in (one, two, HI)}) == 3
    request = msgspec.structs.replace(ASKED, turns=(HELLO,))
    assert key(answered(request, "hi", [REF])) == key((HELLO, one))


def test_a_later_license_of_the_same_id_continues_no_conversation_of_the_earlier_one():
    callers = [Caller(id="me"), Caller(id="me", serial="1"), Caller(id="me", serial="2")]
    assert len({key((HELLO, HI), msgspec.structs.replace(ASKED, caller=caller)) for caller in callers}) == 3


def test_callers_and_models_have_different_keys():
    other = msgspec.structs.replace(ASKED, caller=Caller(id="you"))
    canvas = msgspec.structs.replace(ASKED, selection=CATALOGUE.resolve("gemini-3-pro-canvas"))
    assert len({key((HELLO, HI), request) for request in (ASKED, other, canvas)}) == 3


def test_every_part_of_a_turn_changes_the_key():
    call = ToolCall(id="c1", name="look", arguments="{}")
    picture = Turn(role=Role.USER, parts=(TextPart(text="hello"), FilePart(data=b"1", mime="image/png", name="a")))
    other = Turn(role=Role.USER, parts=(TextPart(text="hello"), FilePart(data=b"2", mime="image/png", name="a")))
    ours = [
        Turn(role=Role.USER, parts=(TextPart(text="hello"), MediaPart(ref=ref)))
        for ref in (REF, msgspec.structs.replace(REF, url="https://other"))
    ]
    variants = [
        *((turn, HI) for turn in ours),
        (HELLO, HI),
        (SYSTEM, HELLO, HI),
        (HI, HELLO),
        (turn("developer", "hello"), HI),
        (turn("user", "hello", name="bob"), HI),
        (turn("user", "hellohi"),),
        (HELLO, turn("assistant", "hi", tool_calls=(call,))),
        (picture, HI),
        (other, HI),
    ]
    assert len({key(turns) for turns in variants}) == len(variants)


ANY_TURNS = st.lists(
    st.builds(turn, st.sampled_from(["user", "assistant", "system"]), st.text(max_size=20)),
    max_size=5,
).map(tuple)


@given(ANY_TURNS, ANY_TURNS)
def test_two_histories_have_one_key_only_if_they_are_equal(one, other):
    same = [(t.role, t.text.split()) for t in one] == [(t.role, t.text.split()) for t in other]
    assert (key(one) == key(other)) == same


def test_a_turn_is_digested_once(monkeypatch):
    turns = (turn("user", "a"), turn("assistant", "b"), turn("user", "c"))
    read = []
    said = continuation._content
    monkeypatch.setattr(continuation, "_content", lambda turn: read.append(turn.text) or said(turn))
    assert key(turns[:2]) == key(turns[:2])
    whole = key(turns)
    assert read == ["a", "b", "c"]
    assert whole == key((turn("user", "a"), turn("assistant", "b"), turn("user", "c"))) != key(turns[:2])


CALL = ToolCall(id="call_1", name="look", arguments='{"at": [1, 2]}')


def with_call(call, *results):
    return (turn("user", "look"), turn("assistant", "", tool_calls=(call,)), *results)


@pytest.mark.parametrize("arguments", ['{"at":[1,2]}', '{ "at" : [ 1, 2 ] }'])
def test_a_call_sent_back_in_another_layout_and_with_another_id_is_the_same(arguments):
    other = ToolCall(id="renamed", name="look", arguments=arguments)
    result = turn("tool", "seen", name="look")
    keys = {
        key_of(request_for("x"), with_call(call, msgspec.structs.replace(result, tool_call_id=call.id)))
        for call in (CALL, other)
    }
    assert len(keys) == 1


async def recorded(request, events):
    """Return the key under which the conversation of an answer is stored."""
    keys = []

    class Reuse:
        async def keep(self, request, answer, turns, tools):
            keys.append(key_of(request, turns))
            return True

    class Answer:
        conversation = None

        @property
        async def events(self):
            for event in [*events, Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=1))]:
                yield event

    recorder = ConversationRecorder(Reuse(), request, Answer(), CallGrammar(request))
    assert [event async for event in recorder.events()]
    return keys[0]


JSON_ANSWER = 'Here {it} is:\n\n```json\n{"n": [1, "```"],\n "a": "}"}\n```\nAll.'


@pytest.mark.parametrize(
    ("said", "got"),
    [
        (JSON_ANSWER, '{"n": [1, "```"], "a": "}"}'),
        (JSON_ANSWER.replace("```json\n", "", 1).replace("{it} ", ""), '{"a":"}","n":[1,"```"]}'),
        ('{"a": 1}', '{ "a": 1 }'),
        ("[1]\n", "[1]"),
        ("I had rather not, sorry.", "I had rather not, sorry."),
    ],
)
async def test_an_answer_in_json_goes_on_from_the_json_alone(said, got):
    request = msgspec.structs.replace(request_for("x"), output=JsonOutput())
    kept = await recorded(request, [Text(said)])
    assert kept == key_of(request, (*request.turns, turn("assistant", got)))


async def test_required_calls_go_on_without_the_words_before_them():
    tools = ToolChoice(tools=(Tool(name="look"),), mode="required")
    request = msgspec.structs.replace(request_for("x"), tools=tools)
    kept = await recorded(request, [Text("I look."), CallStarted(id="c", name="look"), CallArguments(text="{}")])
    call = ToolCall(id="c", name="look", arguments="{}")
    assert kept == key_of(request, (*request.turns, turn("assistant", "", tool_calls=(call,))))


@pytest.mark.parametrize("changed", [{"name": "peek"}, {"arguments": '{"at": [1, 3]}'}, {"arguments": "not JSON"}])
def test_another_call_is_another_conversation(changed):
    other = msgspec.structs.replace(CALL, **changed)
    assert key_of(request_for("x"), with_call(CALL)) != key_of(request_for("x"), with_call(other))


def test_turns_that_the_client_does_not_see_are_not_part_of_the_stored_conversation():
    hidden = (turn("assistant", "wrong"), turn("user", "repair it"))
    request = asked("question")
    repaired = msgspec.structs.replace(request, turns=(*request.turns, *hidden), unseen=2)
    assert answered(repaired, "right") == answered(request, "right")
