import base64
import json

import pytest

from protocol.gemini.candidate_parts import AnswerForm
from protocol.gemini.deliver import FetchedPicture, WholeAnswer
from protocol.gemini.write import GeminiWriter
from protocol.http.markdown import MarkdownText
from protocol.http.side_by_side import Numbered
from protocol.model import (
    CallArguments,
    Caller,
    CallStarted,
    Citation,
    Declined,
    Feature,
    Finish,
    Media,
    MediaKind,
    MediaRef,
    Text,
    Thought,
    UpstreamEnd,
    UpstreamFailed,
    Usage,
    Waiting,
    WebImage,
    Withheld,
    fold,
)
from tests.protocol.conftest import PlainLinks

USAGE = Usage(input_tokens=3, output_tokens=5, reasoning_tokens=2)
STOP = Finish(reason="stop", usage=USAGE)
CALLS = [
    CallStarted(id="1", name="f"),
    CallArguments('{"a":'),
    Waiting(),
    CallArguments(" 1}"),
    CallStarted(id="2", name="g"),
    Finish(reason="tool_calls", usage=USAGE),
]
IMAGE = Media(ref=MediaRef(transport="t", account="a", kind=MediaKind.IMAGE, url="https://x.example/i"))
FILM = Media(ref=MediaRef(transport="t", account="a", kind=MediaKind.VIDEO, url="https://x.example/v"))
PICTURE = FetchedPicture(content=b"picture", mime="image/png", ref=IMAGE.ref)


def writer(count=1, **form):
    contents = [MarkdownText(PlainLinks(), Caller(id="me")) for _ in range(count)]
    return GeminiWriter(AnswerForm(model="m", **form), contents, "answer")


async def written(pieces):
    return pieces if isinstance(pieces, bytes) else b"".join([piece async for piece in pieces])


async def streamed(events, **form):
    """Return the chunks of a stream."""
    writing = writer(**form)
    data = [writing.opened(), *[await written(writing.event(event)) for event in events]]
    assert writing.finished
    if form.get("is_array"):
        return json.loads(b"".join(data))
    return [json.loads(line.removeprefix(b"data: ")) for line in b"".join(data).split(b"\r\n\r\n") if line]


async def each(events):
    for event in events:
        yield event


async def whole(events, **form):
    reply = await fold(each(events))
    return json.loads(await written(writer(**form).whole(WholeAnswer(replies=(reply,), pictures={IMAGE.ref: PICTURE}))))


def parts_of(*chunks):
    return [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]


@pytest.mark.parametrize("is_array", [False, True])
async def test_text_streams_and_the_last_chunk_has_reason_and_usage(is_array):
    chunks = await streamed([Waiting(), Text("a"), Text('b"\u2028'), STOP], is_array=is_array)
    assert [part["text"] for part in parts_of(*chunks)] == ["a", 'b"\u2028', ""]
    assert [chunk["candidates"][0].get("finishReason") for chunk in chunks] == [None, None, "STOP"]
    assert chunks[-1]["usageMetadata"] == {
        "promptTokenCount": 3,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 2,
        "totalTokenCount": 8,
    }
    assert {chunk["modelVersion"] for chunk in chunks} == {"m"}
    assert len({chunk["responseId"] for chunk in chunks}) == 1
    assert all(chunk["candidates"][0]["content"]["role"] == "model" for chunk in chunks)


async def test_a_whole_answer():
    answer = await whole([Thought("hm"), Text("a"), Text("b"), STOP])
    assert parts_of(answer) == [{"text": "ab"}]
    assert answer["candidates"][0]["finishReason"] == "STOP"
    assert parts_of(await whole([Thought("hm"), Text("a"), STOP], thoughts=True)) == [
        {"text": "hm", "thought": True},
        {"text": "a"},
    ]


async def test_thoughts_come_only_where_asked_for():
    assert parts_of(*await streamed([Thought("hm"), Text("a"), STOP])) == [{"text": "a"}, {"text": ""}]
    thought = parts_of(*await streamed([Thought("hm"), STOP], thoughts=True))[0]
    assert thought == {"text": "hm", "thought": True}


async def test_a_call_is_one_part_with_its_arguments():
    expected = [{"id": "1", "name": "f", "args": {"a": 1}}, {"id": "2", "name": "g", "args": {}}]
    chunks = await streamed(CALLS)
    assert [part["functionCall"] for part in parts_of(*chunks)] == expected
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert [part["functionCall"] for part in parts_of(await whole(CALLS))] == expected


@pytest.mark.parametrize("is_array", [False, True])
async def test_pictures_are_inline_and_films_are_linked(is_array):
    events = [Text("a"), PICTURE, PICTURE, FILM, STOP]
    chunks = parts_of(*await streamed(events, is_array=is_array))
    inline = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"picture").decode()}}
    link = chunks[3]["fileData"]
    assert chunks[1:3] == [inline, inline]
    assert (link["mimeType"], link["fileUri"][:8]) == ("video/mp4", "https://")
    answer = await whole([Text("a"), IMAGE, Text("b"), IMAGE, STOP])
    assert parts_of(answer) == [{"text": "a"}, inline, {"text": "b"}, inline]


@pytest.mark.parametrize("is_array", [False, True])
async def test_candidates_have_their_index(is_array):
    events = [
        Numbered(1, Text("b")),
        Numbered(0, Text("a")),
        Numbered(1, STOP),
        Numbered(0, PICTURE),
        Numbered(0, STOP),
    ]
    chunks = await streamed(events, count=2, is_array=is_array)
    found = [chunk["candidates"][0] for chunk in chunks]
    assert [(one["index"], one.get("finishReason")) for one in found] == [
        *((1, None), (0, None), (1, "STOP"), (0, None), (0, "STOP")),
    ]
    assert chunks[-1]["usageMetadata"]["totalTokenCount"] == 16
    reply = await fold(each([Text("a"), STOP]))
    whole = WholeAnswer(replies=(reply, reply), pictures={})
    answer = json.loads(writer(count=2).whole(whole))
    assert [one["index"] for one in answer["candidates"]] == [0, 1]
    assert answer["usageMetadata"]["totalTokenCount"] == 16


async def test_a_refused_prompt_ends_a_stream_of_candidates():
    blocked = [Declined("No."), Finish(reason="content_filter", usage=USAGE)]
    assert len(await streamed(blocked, count=2, is_array=True)) == 1


async def test_notices_and_pictures_of_the_web_are_text():
    events = [Text("a"), WebImage(url="https://x.example/w.png", alt="w"), Withheld(feature=Feature.IMAGES), STOP]
    texts = "".join(part["text"] for part in parts_of(*await streamed(events)))
    assert texts.startswith("a\n\n![w](https://x.example/w.png)\n\n")
    assert parts_of(await whole(events)) == [{"text": texts}]


async def test_sources_come_at_the_end():
    events = [Text("ä b"), Citation(start=0, end=1, url="https://x.example/", title="X"), STOP]
    chunks = await streamed(events)
    assert [bool(chunk["candidates"][0].get("groundingMetadata")) for chunk in chunks] == [False, True]
    for last in (chunks[-1], await whole(events)):
        found = last["candidates"][0]["groundingMetadata"]
        assert found["groundingSupports"][0]["segment"] == {"startIndex": 0, "endIndex": 2, "text": "ä"}


async def test_a_member_of_an_enum_is_bare_text():
    events = [Text('"gr'), Text('een"'), STOP]
    assert parts_of(*await streamed(events, is_enum=True)) == [{"text": "green"}]
    assert parts_of(await whole(events, is_enum=True)) == [{"text": "green"}]


async def test_refusals():
    blocked = [Declined("No."), Finish(reason="content_filter", usage=USAGE)]
    for answer in (*await streamed(blocked), await whole(blocked)):
        assert answer["promptFeedback"] == {"blockReason": "SAFETY", "blockReasonMessage": "No."}
        assert "candidates" not in answer
    chunks = await streamed([Text("a"), *blocked])
    assert chunks[-1]["candidates"][0]["finishReason"] == "SAFETY"
    declined = await whole([Declined("I will not."), STOP])
    assert (parts_of(declined), declined["candidates"][0]["finishReason"]) == ([{"text": "I will not."}], "SAFETY")
    length = await streamed([Text("a"), Finish(reason="length", usage=USAGE)])
    assert length[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"


async def test_an_answer_ends_for_the_reason_that_the_upstream_names():
    end = Finish(reason="content_filter", usage=USAGE, upstream=UpstreamEnd("RECITATION", "From a song."))
    for answer in ((await streamed([Text("a"), end]))[-1], await whole([Text("a"), end])):
        candidate = answer["candidates"][0]
        assert (candidate["finishReason"], candidate["finishMessage"]) == ("RECITATION", "From a song.")


@pytest.mark.parametrize("events", [[], [Text("a")]])
def test_an_error_ends_the_stream_in_its_form(events):
    for is_array in (True, False):
        writing = writer(is_array=is_array)
        data = b"".join([writing.opened(), *map(writing.event, events), writing.error(UpstreamFailed("broke"))])
        event = data.split(b"\r\n\r\n")[-2:][0].removeprefix(b"data: ")
        last = json.loads(data)[-1] if is_array else json.loads(event)
        assert (last["error"]["code"], last["error"]["message"]) == (500, "broke")
        assert next(iter(last)) == "error"
