"""Where a request is cut; `test_context_cache.py` sends the pieces."""

import msgspec
import pytest

from protocol.model import FilePart, Role, TextPart, ToolCall, Turn
from tests.transports.conftest import request_for
from transports.generate_content import wire
from transports.generate_content.context_prefix import MessageCut, divided, prefixes_of
from transports.generate_content.models import traits_of
from transports.generate_content.request_body import generate_request
from transports.generate_content.request_contents import Inserts

LONG = "Some words that are long enough. " * 300
LEAST = 1024


def turn(role, *texts, **more):
    return Turn(role=role, parts=tuple(TextPart(text=text) for text in texts), **more)


def conversation(*turns):
    return msgspec.structs.replace(request_for("?"), turns=turns)


def prefixes(*turns, head=b"model", least=LEAST):
    return prefixes_of(conversation(*turns), head, least)


SYSTEM, USER, MODEL, TOOL = Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL
CALL = ToolCall(id="a", name="f", arguments="{}")


@pytest.mark.parametrize(
    ("turns", "places"),
    [
        ([turn(USER, LONG)], []),
        ([turn(USER, LONG, "?")], [(0, 1)]),
        ([turn(SYSTEM, LONG), turn(USER, "?")], [(1, 0)]),
        ([turn(USER, "?"), turn(SYSTEM, LONG)], [(0, 0)]),
        ([turn(USER, LONG), turn(MODEL, "a"), turn(USER, "?")], [(2, 0)]),
        ([turn(SYSTEM, LONG), turn(USER, LONG, "short", "?")], [(1, 0), (1, 1)]),
        ([turn(USER, "?"), turn(MODEL, tool_calls=(CALL,)), turn(TOOL, LONG, tool_call_id="a")], []),
        ([turn(USER, "short", "?")], []),
    ],
)
def test_a_beginning_ends_before_a_message_or_a_part_of_the_user(turns, places):
    assert [(prefix.turns, prefix.parts) for prefix in prefixes(*turns)] == places


def test_a_long_conversation_has_few_beginnings_and_each_request_the_same():
    turns = [turn(role, f"{number} {LONG}") for number in range(100) for role in (USER, MODEL)]
    found = prefixes(*turns, turn(USER, "?"))
    assert 10 < len(found) < 25
    assert prefixes(*turns[:100], turn(USER, "!")) == found[: len(prefixes(*turns[:100], turn(USER, "!")))]


def test_each_difference_makes_another_beginning():
    file = FilePart(data=b"a", mime="application/pdf", name="a")
    messages = [
        (turn(USER, LONG, "?"),),
        (turn(USER, LONG + " ", "?"),),
        (turn(USER, LONG[:20], LONG[20:], "?"),),
        (turn(USER, LONG, "?", name="me"),),
        (turn(MODEL, LONG), turn(USER, "?")),
        (turn(MODEL, LONG, tool_calls=(CALL,)), turn(USER, "?")),
        (turn(USER, LONG), turn(TOOL, "a", tool_call_id="a"), turn(USER, "?")),
        (turn(USER, LONG), turn(TOOL, "a", tool_call_id="b"), turn(USER, "?")),
        *((msgspec.structs.replace(turn(USER, LONG, "?"), parts=(part, *turn(USER, LONG, "?").parts)),) for part in (
            file, msgspec.structs.replace(file, data=b"b"), msgspec.structs.replace(file, mime="video/mp4"),
        )),
    ]  # fmt: skip
    digests = [prefixes(*turns)[-1].digest for turns in messages]
    digests.append(prefixes(*messages[0], head=b"another model")[-1].digest)
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("last", [("?",), (LONG, "?"), ("", LONG, "?")])
def test_the_pieces_are_the_whole(last):
    turns = (
        turn(SYSTEM, LONG),
        turn(USER, "a"),
        turn(MODEL, tool_calls=(CALL,)),
        turn(TOOL, LONG, tool_call_id="a"),
        turn(USER, *last),
    )
    request, inserts = conversation(*turns), Inserts()
    message = generate_request(request, traits_of("gemini-3.8-flash"), wire.GenerationConfig(), inserts)
    cut = MessageCut(request=request, message=message, inserts=inserts, signed=True)
    found = prefixes_of(request, b"", LEAST)
    assert found
    for prefix in found:
        begun, rest = cut.beginning(prefix), cut.rest(prefix)
        assert rest.contents[0].role == "user"
        assert not any(part.function_response for part in rest.contents[0].parts) or prefix.turns == 1
        assert (rest.system_instruction, rest.tools) == (None, ())
        parts = [part for content in (*begun.contents, *rest.contents) for part in content.parts]
        assert parts == [part for content in message.contents for part in content.parts]


def test_nothing_is_cut_where_no_part_is_left():
    contents = (wire.Content((wire.ContentPart(text="a"), wire.ContentPart(text="b")), "user"),)
    assert [len(one) for one in divided(contents, (0, 1))] == [1, 1]
    assert divided(contents, (0, 0)) == ((), contents)
    request = conversation(turn(USER, LONG, ""))
    message = wire.GenerateContentRequest(contents=(wire.Content((wire.ContentPart(text=LONG),), "user"),))
    cut = MessageCut(request=request, message=message, inserts=Inserts(), signed=True)
    (prefix,) = prefixes_of(request, b"", LEAST)
    assert (cut.beginning(prefix), cut.rest(prefix)) == (None, None)
