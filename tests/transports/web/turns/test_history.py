import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.model import Caller, FilePart, MediaKind, MediaPart, MediaRef, Role, TextPart, ToolCall, Turn
from tests.transports.conftest import CATALOGUE, request_for
from transports.web.turns import history
from transports.web.turns.history import answered, key_of, split


def turn(role, text, **more):
    return Turn(role=Role(role), parts=(TextPart(text=text),), **more)


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


def test_what_was_answered_is_known_and_the_rest_is_new():
    found = split((SYSTEM, HELLO, HI, NEXT))
    assert (found.known, found.fresh) == ((SYSTEM, HELLO, HI), (NEXT,))
    tool = turn("tool", "42", tool_call_id="c1")
    assert split((HELLO, HI, NEXT, HI, tool, NEXT)).fresh == (tool, NEXT)


def test_a_new_chat_goes_on_with_nothing():
    assert split((SYSTEM, HELLO)) is None
    assert split((HELLO, HI)) is None


def test_the_next_request_finds_what_this_one_left():
    request = msgspec.structs.replace(ASKED, turns=(SYSTEM, HELLO))
    assert key(answered(request, "hi")) == key((SYSTEM, HELLO, HI))


@pytest.mark.parametrize(
    "shown",
    [
        "![a \\] cat](http://127.0.0.1:8000/gemini_official/media/AbC-_1)",
        "[a film](http://127.0.0.1:8000/gemini_official/media/AbC-_1)",
        "![a \\[found\\] cat](https://example.com/cat.png?size=1%282%29)",
    ],
)
def test_white_space_and_what_an_answer_shows_do_not_matter(shown):
    said = turn("assistant", f"Here it is:\n\n{shown}\n")
    assert key((HELLO, said)) == key((HELLO, turn("assistant", "Here it is:")))
    assert key((turn("user", f"hello {shown}"), HI)) != key((HELLO, HI))


def test_links_to_other_places_matter():
    assert key((HELLO, turn("assistant", "[x](https://example.com/cat)"))) != key((HELLO, turn("assistant", "")))


def test_brackets_without_end_are_read_in_no_time():
    said = turn("assistant", "![" * 200_000 + "[](" * 200_000)
    assert key((HELLO, said)) != key((HELLO, HI))


def test_what_an_answer_showed_tells_conversations_apart():
    other = msgspec.structs.replace(REF, url="https://y")
    one, two = (Turn(role=Role.ASSISTANT, parts=(TextPart(text="hi"), MediaPart(ref=ref))) for ref in (REF, other))
    assert len({key((HELLO, said)) for said in (one, two, HI)}) == 3
    request = msgspec.structs.replace(ASKED, turns=(HELLO,))
    assert key(answered(request, "hi", [REF])) == key((HELLO, one))


def test_callers_and_models_are_kept_apart():
    other = msgspec.structs.replace(ASKED, caller=Caller(id="you"))
    canvas = msgspec.structs.replace(ASKED, selection=CATALOGUE.resolve("gemini-3-pro-canvas"))
    assert len({key((HELLO, HI), request) for request in (ASKED, other, canvas)}) == 3


def test_everything_that_was_said_matters():
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


TURNS = st.lists(
    st.builds(turn, st.sampled_from(["user", "assistant", "system"]), st.text(max_size=20)),
    max_size=5,
).map(tuple)


@given(TURNS, TURNS)
def test_two_histories_have_one_key_only_if_they_say_the_same(one, other):
    same = [(t.role, t.text.split()) for t in one] == [(t.role, t.text.split()) for t in other]
    assert (key(one) == key(other)) == same


def test_a_turn_is_read_once_however_often_its_conversation_is_looked_for(monkeypatch):
    turns = (turn("user", "a"), turn("assistant", "b"), turn("user", "c"))
    read = []
    said = history._content
    monkeypatch.setattr(history, "_content", lambda turn: read.append(turn.text) or said(turn))
    assert key(turns[:2]) == key(turns[:2])
    whole = key(turns)
    assert read == ["a", "b", "c"]
    assert whole == key((turn("user", "a"), turn("assistant", "b"), turn("user", "c"))) != key(turns[:2])
