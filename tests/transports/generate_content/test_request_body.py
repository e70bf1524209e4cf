"""Bodies of requests, judged by Google's own packages."""

import json
import subprocess
from functools import reduce

import msgspec
import pytest

from protocol.model import (
    Caller,
    FilePart,
    GenerationRequest,
    JsonOutput,
    Model,
    Role,
    Selection,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    Turn,
)
from tests.conftest import ROOT
from transports.generate_content import wire
from transports.generate_content.api_names import changed_names
from transports.generate_content.request_body import ModelTraits, generate_request
from transports.generate_content.request_contents import Inserts

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
AWKWARD = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "title": "Größe",
    "properties": {
        "naïve key": {"type": ["string", "null"], "default": None},
        "tree": {"$ref": "#/$defs/Node"},
        "kind": {"enum": [1, "two", None]},
        "free": {"type": "object", "additionalProperties": True},
        "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
        "any": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^a+$"}]},
    },
    "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
    "required": ["kind"],
    "additionalProperties": False,
}
ANY_MODEL, NO_OPTIONS, NO_INSERTS = ModelTraits(), wire.GenerationConfig(), Inserts()
WEATHER = Tool(name="get_weather", description='Says "hi"\n{}', parameters=AWKWARD)
CLOCK = Tool(name="clock")
DEEP = '{"n":' * 40 + "1" + "}" * 40


def asked(*turns, **fields):
    return GenerationRequest(
        id="r", caller=Caller(id="l"), selection=Selection(model=Model(id="m", family="pro")), turns=turns, **fields
    )


def said(role, *texts, **fields):
    return Turn(role=role, parts=tuple(TextPart(text) for text in texts), **fields)


def body(request, traits=ANY_MODEL, config=NO_OPTIONS, inserts=NO_INSERTS):
    return json.loads(wire.encode_request(generate_request(request, traits, config, inserts)))


def called(*calls):
    return said(
        Role.ASSISTANT, tool_calls=tuple(ToolCall(id=id_, name=name, arguments=text) for id_, name, text in calls)
    )


def answered(id_, name, text):
    return said(Role.TOOL, text, tool_call_id=id_, name=name)


HELLO = said(Role.USER, "Hello")
TWO_CALLS = (
    HELLO,
    called(("a", "get_weather", '{"kind": 1}'), ("b", "clock", "{}")),
    answered("a", "get_weather", '{"sky":"blue"}'),
    answered("b", "clock", "noon"),
)
FULL_CONFIG = wire.GenerationConfig(
    stop_sequences=("END",),
    max_output_tokens=100,
    temperature=0.5,
    top_p=0.9,
    top_k=10,
    seed=7,
    presence_penalty=0.1,
    frequency_penalty=-0.1,
    response_modalities=("TEXT", "IMAGE"),
    thinking_config=wire.ThinkingConfig(include_thoughts=True, thinking_level="HIGH"),
    image_config=wire.ImageConfig("16:9", "2K"),
    media_resolution="MEDIA_RESOLUTION_LOW",
)
SPEECH = wire.GenerationConfig(
    response_modalities=("AUDIO",),
    speech_config={"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}, "languageCode": "de-DE"},
)
OUTPUT = JsonOutput(schema=AWKWARD, name="answer")


def corpus():
    """Yield a name and a body for each form of a request."""
    yield "hello", body(asked(HELLO))
    yield "system", body(asked(said(Role.SYSTEM, "Be brief."), HELLO, said(Role.DEVELOPER, "Be kind.")))
    yield "history", body(asked(HELLO, said(Role.ASSISTANT, "Hi"), said(Role.USER, "Again")))
    yield "all options", body(asked(HELLO), config=FULL_CONFIG)
    budget = wire.GenerationConfig(thinking_config=wire.ThinkingConfig(thinking_budget=-1))
    yield "thinking budget", body(asked(HELLO), config=budget)
    yield "speech", body(asked(HELLO), config=SPEECH)
    yield "two calls and their results", body(asked(*TWO_CALLS))
    for mode in ("auto", "required"):
        for allowed in ((), ("clock",)):
            choice = ToolChoice(tools=(WEATHER, CLOCK), mode=mode, allowed=allowed)
            yield f"tools {mode} {allowed}", body(asked(HELLO, tools=choice))
            yield f"tools {mode} {allowed} after calls", body(asked(*TWO_CALLS, tools=choice, output=OUTPUT))
    yield "json", body(asked(HELLO, output=JsonOutput()))
    yield "schema", body(asked(HELLO, output=OUTPUT))
    no_json = ModelTraits(json_with_tools=False, levels=False, signatures=False)
    yield "schema and tools in words", body(asked(HELLO, tools=ToolChoice(tools=(CLOCK,)), output=OUTPUT), no_json)
    picture = FilePart(data=PNG, mime="image/png", name="a.png")
    inline = {id(picture): wire.ContentPart(inline_data=wire.Blob("image/png", PNG))}
    uploaded = {
        id(picture): wire.ContentPart(file_data=wire.FileData("https://files.test/v1beta/files/a", "image/png"))
    }
    looked = Turn(role=Role.USER, parts=(TextPart("What is it?"), picture))
    result = Turn(role=Role.TOOL, parts=(TextPart("see"), picture), name="clock", tool_call_id="b")
    for files in (inline, uploaded):
        inserts = Inserts(files=files, signature=lambda call: f"c2ln{call.id * 4}")
        yield f"picture {len(files)}", body(asked(looked), inserts=inserts)
        history = (looked, called(("b", "clock", "")), result)
        yield f"picture in a result {len(files)}", body(asked(*history), inserts=inserts)


def odd_histories():
    """Yield a name and a conversation that clients send, and that the API refuses as it is."""
    one, two = ("a", "clock", "{}"), ("b", "clock", "{}")
    model = said(Role.ASSISTANT, "Hm")
    again = said(Role.USER, "Again")
    yield "only a system message", (said(Role.SYSTEM, "Be brief."),)
    yield "only an answer", (model,)
    yield "an answer at the end", (HELLO, model)
    yield "empty messages", (said(Role.USER, ""), HELLO, said(Role.ASSISTANT, ""), again)
    yield "a call without a result", (HELLO, called(one), again)
    yield "a call at the end", (HELLO, called(one))
    yield "one of two results", (HELLO, called(one, two), answered("b", "clock", "noon"), again)
    yield "a result without a call", (HELLO, answered("z", "clock", "noon"), again)
    yield "too many results", (HELLO, called(one), answered("a", "clock", "1"), answered("z", "clock", "2"))
    yield "results in another order", (
        HELLO, called(one, two), answered("b", "clock", "2"), answered("a", "clock", "1"),
    )  # fmt: skip
    yield "a call after an answer", (HELLO, model, called(one), answered("a", "clock", "1"))
    yield "a call at the beginning", (called(one), answered("a", "clock", "1"))
    yield "arguments that are no JSON", (HELLO, called(("a", "clock", "{oops")), answered("a", "clock", "{oops"))
    yield "names that the API refuses", (HELLO, called(("a", "1/get", "{}")), answered("a", "1/get", "[1, 2]"))


ODD = dict(odd_histories())


def odd_corpus():
    """Yield a name and a body for each odd conversation, and for odd functions."""
    for name, turns in ODD.items():
        yield name, body(asked(*turns, tools=ToolChoice(tools=(CLOCK,))))
    odd = (
        Tool(name="1-get", parameters={"$ref": "#/definitions/A", "definitions": {"A": AWKWARD}}),
        Tool(name="x" * 200),
    )
    deep = reduce(lambda inner, _: {"type": "object", "properties": {"n": inner}}, range(40), {"type": "string"})
    yield (
        "deep values",
        body(asked(HELLO, called(("a", "clock", DEEP)), answered("a", "clock", DEEP), output=JsonOutput(schema=deep))),
    )
    yield "a deep function", body(asked(HELLO, tools=ToolChoice(tools=(Tool(name="deep", parameters=deep),))))
    yield "odd functions", body(asked(HELLO, tools=ToolChoice(tools=odd, allowed=("1-get",))))


CORPUS = dict(corpus()) | dict(odd_corpus())


@pytest.fixture(scope="module")
def problems():
    bodies = [("request", one) for one in CORPUS.values()]
    judged = subprocess.run(
        [PYTHON, ROOT / "tests" / "foreign" / "google_types.py"],
        input=json.dumps(bodies), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr
    return dict(zip(CORPUS, json.loads(judged.stdout), strict=True))


@pytest.mark.parametrize("name", CORPUS)
def test_google_s_own_packages_accept_each_form(name, problems):
    assert problems[name] is None, CORPUS[name]


def test_calls_of_another_model_have_the_literal_signature_once_in_an_answer():
    contents = body(asked(*TWO_CALLS))["contents"]
    assert [part.get("thoughtSignature") for part in contents[1]["parts"]] == [wire.SKIP_SIGNATURE, None]


def test_results_of_one_answer_are_one_message_in_the_order_of_their_calls():
    contents = body(asked(*TWO_CALLS, said(Role.USER, "And?")))["contents"]
    assert [one["role"] for one in contents] == ["user", "model", "user", "user"]
    responses = [part["functionResponse"] for part in contents[2]["parts"]]
    assert [(one["id"], one["response"]) for one in responses] == [("a", {"sky": "blue"}), ("b", {"result": "noon"})]


def test_a_system_message_in_the_middle_belongs_to_the_system_instruction():
    made = body(asked(said(Role.SYSTEM, "One"), HELLO, said(Role.SYSTEM, "Two"), said(Role.USER, "Go")))
    assert [part["text"] for part in made["systemInstruction"]["parts"]] == ["One", "Two"]
    assert [one["parts"][0]["text"] for one in made["contents"]] == ["Hello", "Go"]


def test_a_request_without_options_has_no_generation_config():
    assert body(asked(HELLO)) == {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    assert msgspec.json.encode(wire.GenerationConfig()) == b"{}"


@pytest.mark.parametrize("name", ODD)
def test_an_odd_history_is_one_that_the_api_accepts(name):
    contents = CORPUS[name]["contents"]
    assert contents
    assert [one["role"] for one in contents] != ["model"]
    open_calls, before = [], "model"
    for message in contents:
        calls = [part["functionCall"] for part in message["parts"] if "functionCall" in part]
        results = [part["functionResponse"] for part in message["parts"] if "functionResponse" in part]
        assert [(one["id"], one["name"]) for one in results] == [(one["id"], one["name"]) for one in open_calls]
        assert not calls or (message["role"], before) == ("model", "user")
        open_calls, before = calls, message["role"]
    assert open_calls == []


def test_a_missing_result_says_so_and_one_without_a_call_is_text():
    [first, second] = CORPUS["one of two results"]["contents"][2]["parts"]
    assert first["functionResponse"]["response"] == {"error": "There is no result of this call."}
    assert second["functionResponse"]["response"] == {"result": "noon"}
    last = CORPUS["too many results"]["contents"][-1]["parts"][0]["text"]
    assert last == "Result of a call of 'clock' that is not in this conversation:\n2"


def test_values_that_are_nested_too_deeply_are_text_or_end():
    _, call, result = CORPUS["deep values"]["contents"]
    assert call["parts"][0]["functionCall"]["args"] == {"arguments": DEEP}
    assert result["parts"][0]["functionResponse"]["response"] == {"result": DEEP}
    config = CORPUS["deep values"]["generationConfig"]["responseJsonSchema"]
    assert json.dumps(config).count("properties") == 14


def test_a_system_message_alone_is_the_user_s():
    assert CORPUS["only a system message"]["contents"] == [{"role": "user", "parts": [{"text": "Be brief."}]}]
    assert "systemInstruction" not in CORPUS["only a system message"]


def test_functions_have_the_names_that_the_api_accepts_everywhere():
    made = CORPUS["odd functions"]
    names = [one["name"] for one in made["tools"][0]["functionDeclarations"]]
    assert made["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == names[:1]
    assert changed_names(["1-get", "x" * 200, "clock"]) == dict(zip(names, ["1-get", "x" * 200], strict=True))
    assert max(map(len, names)) <= 128
