import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.model import BadRequest, Role, TextPart, ToolCall, Turn
from transports.web.prompt import MAX_PROMPT_BYTES, flatten

TEXTS = st.text(max_size=40) | st.text(st.sampled_from("`\nab"), max_size=40)


def turn(role, *texts, **more):
    return Turn(role=role, parts=tuple(TextPart(text=text) for text in texts), **more)


@given(TEXTS)
def test_a_single_user_message_goes_as_it_is(text):
    assert flatten((turn(Role.USER, text),)) == text


@given(st.lists(st.tuples(st.sampled_from(list(Role)), TEXTS), min_size=2, max_size=6))
def test_no_role_and_no_character_is_lost_and_blocks_can_be_told_apart(messages):
    prompt = flatten(tuple(turn(role, text) for role, text in messages))
    fence = prompt.partition("\n\n")[2].partition(messages[0][0].value)[0]
    assert set(fence) == {"`"}
    assert all(fence not in text for _, text in messages)
    rest = prompt.partition("\n\n")[2]
    for role, text in messages:
        head = f"{fence}{role.value}\n{text}\n{fence}"
        assert rest.startswith(head)
        rest = rest[len(head) :].removeprefix("\n\n")
    assert rest == ""


def test_names_calls_and_call_ids_are_kept():
    call = ToolCall(id="call_1", name="look_up", arguments='{"q": "x"}')
    prompt = flatten(
        (
            turn(Role.USER, "ask", name="Ann"),
            turn(Role.ASSISTANT, tool_calls=(call,)),
            turn(Role.TOOL, "result", tool_call_id="call_1"),
        ),
    )
    for word in ("Ann", "look_up", "call_1", '{"q": "x"}', "result", "ask"):
        assert word in prompt


def test_a_text_the_site_would_cut_is_refused():
    assert len(flatten((turn(Role.USER, "x" * MAX_PROMPT_BYTES),))) == MAX_PROMPT_BYTES
    with pytest.raises(BadRequest) as caught:
        flatten((turn(Role.USER, "é" * (MAX_PROMPT_BYTES // 2 + 1)),))
    assert caught.value.code == "context_length_exceeded"
