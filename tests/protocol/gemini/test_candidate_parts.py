import pytest

from protocol.gemini.candidate_parts import AnswerForm, CandidateParts, joined
from protocol.http.markdown import MarkdownText
from protocol.model import CallArguments, Caller, CallStarted, Declined, Finish, Text, Thought, Usage, Waiting
from tests.protocol.conftest import PlainLinks

STOP = Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=1))
BLOCKED = Finish(reason="content_filter", usage=STOP.usage)


def parts_of(*events, **form):
    candidate = CandidateParts(AnswerForm(model="m", **form), MarkdownText(PlainLinks(), Caller(id="me")), 0)
    return candidate, [part for event in events for part in candidate.add(event, lambda _: "data")]


@pytest.mark.parametrize("end", [Text("b"), CallStarted(id="2", name="g"), STOP])
def test_a_call_ends_with_the_next_event_that_is_not_its_own(end):
    began = [CallStarted(id="1", name="f"), CallArguments('{"a": '), Waiting(), Thought("hm"), CallArguments("[1]}")]
    assert parts_of(*began)[1] == []
    call = parts_of(*began, end)[1][0].function_call
    assert (call.id, call.name, call.args) == ("1", "f", {"a": [1]})


def test_a_member_of_another_type_stays_json():
    assert [part.text for part in parts_of(Text("[1,"), Text("2]"), STOP, is_enum=True)[1]] == ["[1,2]"]


def test_adjacent_texts_are_joined():
    parts = parts_of(
        Thought("a"), Thought("b"), Text("c"), Text("d"), CallStarted(id="1", name="f"), Text("e"), thoughts=True
    )[1]
    found = [(part.text, part.thought) for part in joined(parts)]
    assert found == [("ab", True), ("cd", False), (None, False), ("e", False)]


def test_a_candidate_always_has_a_part_and_its_reason():
    candidate, parts = parts_of(STOP)
    last = candidate.last(parts, Finish(reason="length", usage=STOP.usage))
    assert ([part.text for part in last.content.parts], last.finish_reason) == ([""], "MAX_TOKENS")


def test_a_refusal_before_any_part_leaves_the_candidate_out():
    candidate, parts = parts_of(Declined("No."))
    assert candidate.last(parts, BLOCKED) is None
    candidate.next([])
    assert candidate.last(parts, BLOCKED).finish_message == "No."
