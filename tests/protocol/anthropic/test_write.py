import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.anthropic.write import MessageContext, MessageWriter
from protocol.http.markdown import MarkdownText
from protocol.model import (
    CallArguments,
    Caller,
    CallStarted,
    Citation,
    Declined,
    Document,
    Finish,
    Media,
    MediaKind,
    MediaRef,
    Reply,
    Text,
    Thought,
    UpstreamFailed,
    Usage,
    Waiting,
    WebImage,
    fold,
)
from tests.protocol.conftest import PlainLinks

USAGE = Usage(input_tokens=3, output_tokens=5, reasoning_tokens=2)
END = Finish(reason="stop", usage=USAGE)
WORDS = st.text(st.sampled_from("ab \n[](!)😀\ud800"), max_size=6)
CALL = st.builds(
    lambda name, value, cut: [
        CallStarted(id=f"call_{name}", name=name),
        CallArguments(json.dumps({"v": value})[:cut]),
        Thought(text="so"),
        CallArguments(json.dumps({"v": value})[cut:]),
    ],
    st.sampled_from("xyz"),
    st.one_of(st.integers(), st.just(2**70)),
    st.integers(0, 9),
)
CONTENT = st.one_of(
    WORDS.map(Text),
    WORDS.map(Thought),
    st.builds(
        lambda kind, alt: Media(ref=MediaRef(transport="t", account="a", kind=kind, url="u"), alt=alt),
        st.sampled_from(MediaKind),
        WORDS,
    ),
    WORDS.map(lambda alt: WebImage(url="https://x.example/a", alt=alt)),
    st.just(Citation(start=0, end=1, url="https://s.example", title="s")),
    st.just(Document(title="t", kind="html")),
    st.just(Waiting()),
)
ANSWERS = st.tuples(st.lists(CONTENT, max_size=10), st.lists(CALL, max_size=3)).map(
    lambda parts: [*parts[0], *(event for call in parts[1] for event in call), END]
)


def writer(**options):
    text = MarkdownText(PlainLinks(), Caller(id="me"))
    given = {"thinking": True, "searches": True, "input_tokens": 3, **options}
    return MessageWriter("gemini-3-pro", text, MessageContext(id="msg_1", request_id="req_1", **given))


def streamed(events, **options):
    """Return the events of a stream, with their names checked."""
    one = writer(**options)
    data = (one.opened() + b"".join(map(one.event, events))).decode("utf-8")
    found = []
    for event in filter(None, data.split("\n\n")):
        name, body = event.split("\n")
        found.append(json.loads(body.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def put_together(events):
    """Put a stream together, as clients do; blocks open and close one after another."""
    message = dict(events[0]["message"])
    blocks, open_block = [], None
    for event in events[1:-2]:
        if event["type"] == "content_block_start":
            assert (open_block, event["index"]) == (None, len(blocks))
            open_block = {**event["content_block"]}
            blocks.append(open_block)
            arguments = ""
        elif event["type"] == "content_block_stop":
            assert event["index"] == len(blocks) - 1
            if open_block["type"] in {"tool_use", "server_tool_use"}:
                assert open_block["input"] == {}
                open_block["input"] = json.loads(arguments or "{}")
            open_block = None
        else:
            assert event["index"] == len(blocks) - 1
            delta = dict(event["delta"])
            delta.pop("type")
            ((name, value),) = delta.items()
            if name == "partial_json":
                arguments += value
            elif name == "citation":
                open_block["citations"] = [*open_block.get("citations", ()), value]
            else:
                assert value
                open_block[name] += value
    assert open_block is None
    assert (events[-2]["type"], events[-1]) == ("message_delta", {"type": "message_stop"})
    return {**message, **events[-2]["delta"], "usage": events[-2]["usage"], "content": blocks}


@given(ANSWERS, st.booleans())
async def test_a_stream_adds_up_to_the_whole_message(events, thinking):
    async def replay():
        for event in events:
            yield event

    whole = json.loads(writer(thinking=thinking).whole(await fold(replay())))
    message = put_together(streamed(events, thinking=thinking))
    for field in ("type", "role", "model", "stop_reason", "stop_sequence", "stop_details", "usage"):
        assert message[field] == whole[field]
    for kind, field in (("text", "text"), ("thinking", "thinking")):
        texts = ["".join(b[field] for b in one["content"] if b["type"] == kind) for one in (message, whole)]
        assert texts[0] == texts[1]
    assert thinking or all(block["type"] != "thinking" for block in message["content"])
    assert all(block["signature"] for block in message["content"] if block["type"] == "thinking")
    calls = [[b for b in one["content"] if b["type"] == "tool_use"] for one in (message, whole)]
    assert calls[0] == calls[1]
    found = [
        [b["content"] for b in one["content"] if b["type"] == "web_search_tool_result"] for one in (message, whole)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("end", "before", "stop"),
    [
        (END, [], ("end_turn", None, None)),
        (Finish(reason="length", usage=USAGE), [], ("max_tokens", None, None)),
        (Finish(reason="tool_calls", usage=USAGE), [], ("tool_use", None, None)),
        (Finish(reason="stop", usage=USAGE, stop_sequence="END"), [], ("stop_sequence", "END", None)),
        (Finish(reason="content_filter", usage=USAGE), [], ("refusal", None, None)),
        (END, [Declined(text="I will not.")], ("refusal", None, "I will not.")),
    ],
)
async def test_the_end_of_an_answer_has_its_reason(end, before, stop):
    async def replay():
        for event in (*before, end):
            yield event

    for message in (put_together(streamed([*before, end])), json.loads(writer().whole(await fold(replay())))):
        explanation = (message["stop_details"] or {}).get("explanation")
        assert (message["stop_reason"], message["stop_sequence"], explanation) == stop
        assert message["content"] == []


def test_usage_counts_thoughts_as_output():
    reply = Reply(pieces=(), thoughts="", finish="stop", usage=USAGE)
    assert json.loads(writer().whole(reply))["usage"] == {
        "input_tokens": 3,
        "output_tokens": 5,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens_details": {"thinking_tokens": 2},
    }


def test_sources_are_cited_and_listed_once():
    url = "https://s.example/a"
    cited = Citation(start=3, end=7, url=url, title="S")
    events = [Text(text="It snowed."), cited, cited, Citation(start=0, end=1, url="javascript:1", title="J"), END]
    text, used, found = put_together(streamed(events))["content"]
    location = {"type": "web_search_result_location", "url": url, "title": "S", "encrypted_index": ""}
    assert text["citations"] == [{**location, "cited_text": "snow"}] * 2
    assert (used["type"], used["name"], found["tool_use_id"]) == ("server_tool_use", "web_search", used["id"])
    assert used["input"] == {"query": ""}  # the AI SDK wants a text
    result = {"type": "web_search_result", "url": url, "title": "S", "encrypted_content": "", "page_age": None}
    assert found["content"] == [result]
    assert put_together(streamed(events, searches=False))["content"] == [{"type": "text", "text": "It snowed."}]


def test_what_the_upstream_has_already_counts_as_cached():
    end = Finish(reason="stop", usage=Usage(input_tokens=1000, output_tokens=1, cached_tokens=997))
    message = put_together(streamed([end], input_tokens=1000))
    assert (message["usage"]["input_tokens"], message["usage"]["cache_read_input_tokens"]) == (3, 997)


def test_a_stream_that_fails_ends_with_an_error():
    data = b'{"type":"error","error":{"type":"api_error","message":"It broke."},"request_id":"req_1"}'
    assert writer().error(UpstreamFailed("It broke.")) == b"event: error\ndata: " + data + b"\n\n"
