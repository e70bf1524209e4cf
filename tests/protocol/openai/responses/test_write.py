import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from protocol.model import (
    BadRequest,
    CallArguments,
    Caller,
    CallStarted,
    Citation,
    Declined,
    Finish,
    Media,
    MediaKind,
    MediaRef,
    RateLimited,
    Text,
    Thought,
    UpstreamFailed,
    Usage,
    Waiting,
)
from protocol.openai.chat.write import Rendering
from protocol.openai.responses.read import new_response
from protocol.openai.responses.wire import decode_request
from protocol.openai.responses.write import Picture, ResponseBuilder, ResponseStep, ResponseWriter, last_step
from tests.openai_schemas import check, check_event
from tests.protocol.conftest import PlainLinks, make_context
from tests.protocol.openai.chat.test_write import EVENTS
from tests.protocol.openai.responses.test_read import CATALOGUE

USAGE = Usage(input_tokens=1, output_tokens=5, reasoning_tokens=2)
MEDIA = Media(ref=MediaRef(transport="t", account="a", kind=MediaKind.IMAGE, url="x"), revised_prompt="a cat")


def builder_of(**fields):
    body = decode_request(json.dumps({"model": "gemini-3-pro", "input": "x"} | fields))
    response = new_response(body, CATALOGUE.resolve(body.model), make_context(created=7.0))
    return ResponseBuilder(response, Rendering(PlainLinks(), Caller(id="me")), lambda: 7.5)


def written(*events, reason="stop", **fields):
    """Return the judged events of an answer."""
    builder = builder_of(**fields)
    writer = ResponseWriter(builder)
    steps = [[*builder.begin(), *(one for event in events for one in builder.add(event))]]
    steps.append(builder.finish(Finish(reason=reason, usage=USAGE)))
    data = b"".join(writer.event(ResponseStep(events=step)) for step in steps).decode()
    return [check_event(block.partition("data: ")[2]) for block in data.strip().split("\n\n")]


def output_of(events):
    items = events[-1]["response"]["output"]
    for kind in ("added", "done"):
        marks = [event for event in events if event["type"] == f"response.output_item.{kind}"]
        assert [(mark["output_index"], mark["item"]["id"]) for mark in marks] == [
            (index, item["id"]) for index, item in enumerate(items)
        ]
    assert [mark["item"] for mark in marks] == items
    assert len({item["id"] for item in items}) == len(items)
    places = {item["id"]: index for index, item in enumerate(items)}
    assert all(places[event["item_id"]] == event["output_index"] for event in events if "item_id" in event)
    check(json.dumps(events[-1]["response"]), Response, "Response")
    return items


def test_late_thoughts_do_not_split_the_text():
    events = written(Thought(text="a"), Text(text="b"), Thought(text="c"), Waiting(), Text(text="d"), Thought(text="e"))
    items = output_of(events)
    assert [item["type"] for item in items] == ["reasoning", "message", "reasoning"]
    assert items[1]["content"][0]["text"] == "bd"
    assert [item["summary"][0]["text"] for item in (items[0], items[2])] == ["a", "ce"]


def test_an_answer_without_content_has_an_empty_message():
    assert output_of(written(Thought(text="hm")))[1]["content"] == [
        {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    ]


def test_words_stand_before_calls():
    call = (CallStarted(id="call_1", name="f"), CallArguments(text='{"a":'), CallArguments(text="1}"))
    events = written(
        Thought(text="hm"), Text(text="Look:"), *call, CallStarted(id="call_2", name="g"), CallArguments(text="{}")
    )
    items = output_of(events)
    assert [item["type"] for item in items] == ["reasoning", "message", "function_call", "function_call"]
    assert [(item["call_id"], item["arguments"]) for item in items[2:]] == [("call_1", '{"a":1}'), ("call_2", "{}")]


def test_a_refusal_is_a_part_of_its_own():
    items = output_of(written(Declined(text="I "), Declined(text="cannot.")))
    assert items[0]["content"] == [{"type": "refusal", "refusal": "I cannot."}]


def test_a_cut_message_is_incomplete():
    events = written(Text(text="a"), reason="length")
    assert (events[-1]["type"], output_of(events)[0]["status"]) == ("response.incomplete", "incomplete")
    assert events[-1]["response"]["completed_at"] is None


def test_sources_count_from_the_beginning_of_their_message():
    source = Citation(start=5, end=9, url="https://s.example", title="s")
    picture = Picture(media=MEDIA, url="https://x.example", base64="AAAA")
    items = output_of(written(Text(text="four"), picture, Text(text=" cite"), source))
    assert [item["type"] for item in items] == ["message", "image_generation_call", "message"]
    assert [(one["start_index"], one["end_index"]) for one in items[2]["content"][0]["annotations"]] == [(1, 5)]
    assert (items[1]["result"], items[1]["revised_prompt"]) == ("AAAA", "a cat")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RateLimited("used up"), "rate_limit_exceeded"),
        (BadRequest("wrong"), "invalid_prompt"),
        (UpstreamFailed("broke"), "server_error"),
    ],
)
def test_an_error_before_the_first_event_leaves_no_gap(error, code):
    data = ResponseWriter(builder_of()).error(error).decode()
    events = [check_event(block.partition("data: ")[2]) for block in data.strip().split("\n\n")]
    assert [event["sequence_number"] for event in events] == [0, 1, 2]
    assert events[-1]["response"]["error"] == {"code": code, "message": error.message}


def test_a_response_in_the_background_is_queued_first():
    events = written(Text(text="a"), background=True)
    assert [event["response"]["status"] for event in events[:3]] == ["queued", "queued", "in_progress"]


async def test_steps_without_an_end_are_a_truncated_answer():
    async def steps():
        yield ResponseStep(events=[])

    with pytest.raises(UpstreamFailed, match="before it was complete"):
        await last_step(steps())


CALLS = st.lists(st.sampled_from(["{", '"a":1', "}"]), max_size=3).map(
    lambda parts: [CallStarted(id="call_1", name="f"), *(CallArguments(text=part) for part in parts)]
)
PICTURE = Picture(media=MEDIA, url="https://x.example", base64=None)
ANSWERS = st.lists(st.one_of(EVENTS, CALLS, st.just([Declined(text="no")]), st.just([PICTURE])), max_size=6)


@settings(max_examples=40)
@given(ANSWERS, st.sampled_from(["stop", "length", "content_filter", "tool_calls"]))
@example([[Thought(text="")]], "stop")
def test_any_answer_makes_a_valid_sequence(answers, reason):
    sent = [event for events in answers for event in events]
    events = written(*sent, reason=reason)
    items = output_of(events)
    deltas = {}
    for event in events:
        if event["type"].endswith(".delta"):
            deltas.setdefault((event["item_id"], event.get("content_index", 0)), []).append(event["delta"])
    whole = {
        (item["id"], index): part.get("text", part.get("refusal"))
        for item in items
        for index, part in enumerate(item.get("content", item.get("summary", ())))
    } | {(item["id"], 0): item["arguments"] for item in items if item["type"] == "function_call"}
    assert {place: "".join(parts) for place, parts in deltas.items()} == {
        place: text for place, text in whole.items() if text
    }
    thoughts = "".join(event.text for event in sent if isinstance(event, Thought))
    assert "".join(item["summary"][0]["text"] for item in items if item["type"] == "reasoning") == thoughts
