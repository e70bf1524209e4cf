"""Events from the chunks of an answer; Google's own packages vouch for the samples."""

import json
import subprocess

import pytest

from protocol.model import (
    CallArguments,
    CallMalformed,
    CallStarted,
    Citation,
    CodeText,
    Consulted,
    Finish,
    Media,
    MediaKind,
    MediaRef,
    Refused,
    Signed,
    Text,
    Thought,
    Tool,
    ToolChoice,
    UpstreamEnd,
    UpstreamFailed,
    Usage,
)
from tests.conftest import ROOT
from transports.generate_content import wire
from transports.generate_content.answer_events import ChunkReader, new_call_ids
from transports.generate_content.api_names import changed_names

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
PICTURE = Media(ref=MediaRef(transport="api", account="a", kind=MediaKind.IMAGE, url="blob:x"))
NOTHING = Usage(input_tokens=0, output_tokens=0, exact=True)


def part(**fields):
    return {"candidates": [{"index": 0, "content": {"role": "model", "parts": [fields]}}]}


def last(reason="STOP", **fields):
    return {"candidates": [{"finishReason": reason} | fields]}


def grounded(text, start, end, said=None, uri="https://example.com/a"):
    segment = {"startIndex": start, "endIndex": end, "text": text if said is None else said}
    return {
        "groundingMetadata": {
            "webSearchQueries": ["q"],
            "groundingChunks": [{"web": {"uri": uri, "title": "A"}}],
            "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0, 7]}],
        }
    }


STOP = Finish("stop", NOTHING)
SEARCHED = Consulted(queries=("q",))
CASES = {
    "text in pieces": (
        [part(text="Hel"), part(text="lo"), last()],
        [Text("Hel"), Text("lo"), STOP],
    ),
    "thoughts": ([part(text="Hm", thought=True), part(text="Hi"), last()], [Thought("Hm"), Text("Hi"), STOP]),
    "two calls": (
        [
            part(functionCall={"name": "f", "args": {"a": 1}}, thoughtSignature="c2ln"),
            part(functionCall={"name": "g", "id": "own"}),
            last(),
        ],
        [
            CallStarted(id="c1", name="f", signature="c2ln"),
            CallArguments('{"a":1}'),
            CallStarted(id="own", name="g"),
            CallArguments("{}"),
            Finish("tool_calls", NOTHING),
        ],
    ),
    "a signature alone": (
        [part(text="x"), part(text="", thoughtSignature="c2ln"), last()],
        [Text("x"), Signed("c2ln"), STOP],
    ),
    "a picture, and a draft": (
        [
            part(inlineData={"mimeType": "image/png", "data": "ZHJhZnQ="}, thought=True),
            part(inlineData={"mimeType": "image/png", "data": "eHh4eA=="}),
            last(),
        ],
        [PICTURE, STOP],
    ),
    "code and its output": (
        [
            part(executableCode={"language": "PYTHON", "code": "print(1)"}),
            part(codeExecutionResult={"outcome": "OUTCOME_OK", "output": "1\n"}),
            last(),
        ],
        [
            CodeText(text="\n```python\nprint(1)\n```\n", code="print(1)", language="PYTHON"),
            CodeText(text="\n```\n1\n```\n", output="1\n", outcome="OUTCOME_OK"),
            STOP,
        ],
    ),
    "all tokens spent on thinking": ([last("MAX_TOKENS")], [Finish("length", NOTHING)]),
    "blocked in the middle": ([part(text="x"), last("SAFETY")], [Text("x"), Finish("content_filter", NOTHING)]),
    "another reason": (
        [part(text="x"), last("RECITATION", finishMessage="From a song.")],
        [Text("x"), Finish("content_filter", NOTHING, upstream=UpstreamEnd("RECITATION", "From a song."))],
    ),
    "no known reason": (
        [part(text="x"), last("OTHER")],
        [Text("x"), Finish("stop", NOTHING, upstream=UpstreamEnd("OTHER"))],
    ),
    "a call that cannot be read": (
        [last("MALFORMED_FUNCTION_CALL", finishMessage="call:f{")],
        [
            CallMalformed(text="call:f{", problem="the call cannot be read"),
            Finish("stop", NOTHING, upstream=UpstreamEnd("MALFORMED_FUNCTION_CALL", "call:f{")),
        ],
    ),
    "counts": (
        [
            part(text="x") | {"usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1}},
            last()
            | {
                "usageMetadata": {
                    "promptTokenCount": 10,
                    "cachedContentTokenCount": 4,
                    "candidatesTokenCount": 5,
                    "thoughtsTokenCount": 7,
                    "toolUsePromptTokenCount": 2,
                    "totalTokenCount": 24,
                    "promptTokensDetails": [
                        {"modality": "TEXT", "tokenCount": 6},
                        {"modality": "AUDIO", "tokenCount": 4},
                    ],
                }
            },
        ],
        [
            Text("x"),
            Finish(
                "stop",
                Usage(
                    input_tokens=12,
                    output_tokens=12,
                    reasoning_tokens=7,
                    cached_tokens=4,
                    tool_tokens=2,
                    input_modalities=(("TEXT", 6), ("AUDIO", 4)),
                    exact=True,
                ),
            ),
        ],
    ),
    "sources count bytes": (
        [part(text="Größe 😀 ist"), part(text=" da."), last(**grounded("ist da.", 13, 20))],
        [
            Text("Größe 😀 ist"),
            Text(" da."),
            SEARCHED,
            Citation(start=8, end=15, url="https://example.com/a", title="A"),
            STOP,
        ],
    ),
    "a place counts within its part": (
        [
            part(text="世界。"),
            part(executableCode={"language": "PYTHON", "code": "é"}),
            part(text="Same. 世界。"),
            last(**grounded("世界。", 6, 15)),
        ],
        [
            Text("世界。"),
            CodeText(text="\n```python\né\n```\n", code="é", language="PYTHON"),
            Text("Same. 世界。"),
            SEARCHED,
            Citation(start=26, end=29, url="https://example.com/a", title="A"),
            STOP,
        ],
    ),
    "addresses that were opened": (
        [
            part(text="x"),
            last(
                urlContextMetadata={
                    "urlMetadata": [
                        {"retrievedUrl": "https://a.test", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"}
                    ]
                }
            ),
        ],
        [Text("x"), Consulted(pages=(("https://a.test", "URL_RETRIEVAL_STATUS_SUCCESS"),)), STOP],
    ),
    "a source in another place is found by its words": (
        [part(text="One. Two."), last(**grounded("Two.", 0, 4))],
        [Text("One. Two."), SEARCHED, Citation(start=5, end=9, url="https://example.com/a", title="A"), STOP],
    ),
    "a source that fits nowhere is left out": (
        [part(text="One. One."), last(**grounded("x", 1, 3, said="One."))],
        [Text("One. One."), SEARCHED, STOP],
    ),
    "a source without a web address is left out": (
        [part(text="One."), last(**grounded("One.", 0, 4, uri="javascript:alert(1)"))],
        [Text("One."), SEARCHED, STOP],
    ),
}


def read(chunks):
    reader = ChunkReader(lambda blob: PICTURE, new_call_ids("c"))
    events = [event for chunk in chunks for event in reader.read(wire.decode_response(json.dumps(chunk)))]
    return events + list(reader.end())


@pytest.mark.parametrize("name", CASES)
def test_chunks_become_events(name):
    chunks, events = CASES[name]
    assert read(chunks) == events


def test_the_samples_are_answers_by_google_s_own_packages():
    bodies = [("response", chunk) for chunks, _ in CASES.values() for chunk in chunks]
    judged = subprocess.run(
        [PYTHON, ROOT / "tests" / "foreign" / "google_types.py"],
        input=json.dumps(bodies), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr
    assert [problem for problem in json.loads(judged.stdout) if problem] == []


@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "NO_IMAGE", "IMAGE_SAFETY"])
def test_an_answer_that_is_withheld_as_a_whole_is_a_refusal(reason):
    with pytest.raises(Refused, match=reason.lower().replace("_", " ")):
        read([last(reason)])


def test_a_reason_of_the_future_is_another_one():
    assert read([part(text="x"), last("NEW_ONE")])[-1] == Finish("stop", NOTHING, upstream=UpstreamEnd("OTHER"))


def test_a_blocked_prompt_is_a_refusal():
    with pytest.raises(Refused, match="prohibited content"):
        read([{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}])


@pytest.mark.parametrize("chunk", [last("SAFETY"), {"promptFeedback": {"blockReason": "SAFETY"}}])
def test_a_refusal_has_the_tokens_that_the_api_counts(chunk):
    with pytest.raises(Refused) as refusal:
        read([chunk | {"usageMetadata": {"promptTokenCount": 7}}])
    assert refusal.value.usage == Usage(input_tokens=7, output_tokens=0, exact=True)


def test_an_answer_without_an_end_is_a_failure():
    with pytest.raises(UpstreamFailed):
        read([part(text="x")])


def test_an_error_may_come_late():
    with pytest.raises(UpstreamFailed, match="overloaded"):
        read([part(text="x"), {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}])


def test_each_signature_comes_with_the_id_of_its_call():
    signed = {}
    reader = ChunkReader(lambda blob: None, new_call_ids("c"), signed.__setitem__)
    list(reader.read(wire.decode_response(json.dumps(CASES["two calls"][0][0]))))
    assert signed == {"c1": "c2ln"}


def test_ids_are_unique_in_an_answer():
    call = part(functionCall={"name": "f", "id": "same"})
    started = [event.id for event in read([call, call, last()]) if isinstance(event, CallStarted)]
    assert started == ["same", "c1"]


def test_a_client_that_wants_a_single_call_gets_one():
    reader = ChunkReader(
        lambda blob: None, new_call_ids("c"), tools=ToolChoice(tools=(Tool(name="f"),), parallel=False)
    )
    chunks = [part(functionCall={"name": "f"}), part(functionCall={"name": "f"})]
    events = [event for chunk in chunks for event in reader.read(wire.decode_response(json.dumps(chunk)))]
    assert events == [CallStarted(id="c1", name="f"), CallArguments("{}")]


def test_a_call_has_the_name_that_the_client_knows():
    [declared] = changed_names(["1-get"])
    reader = ChunkReader(lambda blob: None, new_call_ids("c"), tools=ToolChoice(tools=(Tool(name="1-get"),)))
    events = list(reader.read(wire.decode_response(json.dumps(part(functionCall={"name": declared})))))
    assert events[0] == CallStarted(id="c1", name="1-get")
