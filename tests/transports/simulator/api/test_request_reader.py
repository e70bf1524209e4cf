"""The simulator refuses what Google's own packages refuse, and accepts what they accept."""

import copy
import json
import re
import subprocess
from functools import reduce

import pytest

from tests.conftest import ROOT
from transports.simulator.api import request_schema as schema
from transports.simulator.api.api_models import find
from transports.simulator.api.request_reader import RequestCheck, decode
from transports.simulator.api.rpc_errors import ApiRefusal

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
SIGNATURE = "c2lnbmF0dXJl"
SCHEMA = {
    "type": "OBJECT",
    "title": "T",
    "description": "d",
    "nullable": True,
    "properties": {"n": {"type": "INTEGER", "format": "int32", "minimum": 1, "maximum": 9}},
    "required": ["n"],
    "propertyOrdering": ["n"],
    "minProperties": "1",
    "maxProperties": "2",
    "anyOf": [{"type": "STRING", "enum": ["a"], "minLength": "1", "maxLength": "2", "pattern": "a", "default": "a"}],
    "items": {"type": "ARRAY", "minItems": "1", "maxItems": "2", "items": {"type": "NUMBER", "example": 1}},
}
BODIES = {
    "parts": {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "a"},
                    {"inlineData": {"mimeType": "image/png", "data": "eHg="}},
                    {
                        "fileData": {"mimeType": "video/mp4", "fileUri": "https://example.com/a"},
                        "videoMetadata": {"startOffset": "1s", "endOffset": "2s", "fps": 2.0},
                    },
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "b", "thought": True},
                    {
                        "functionCall": {"id": "1", "name": "f", "args": {"own_name": [1, None]}},
                        "thoughtSignature": SIGNATURE,
                    },
                    {"executableCode": {"language": "PYTHON", "code": "1"}},
                    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {
                        "functionResponse": {
                            "id": "1",
                            "name": "f",
                            "response": {"own_name": {}},
                            "parts": [{"inlineData": {"mimeType": "image/png", "data": "eHg="}}],
                            "willContinue": False,
                            "scheduling": "SILENT",
                        }
                    }
                ],
            },
        ],
        "systemInstruction": {"parts": [{"text": "s"}]},
    },
    "tools": {
        "contents": [{"parts": [{"text": "a"}]}],
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "f", "description": "d", "parameters": SCHEMA, "behavior": "BLOCKING"},
                    {"name": "g", "parametersJsonSchema": {"own_name": 1}, "responseJsonSchema": {"type": "object"}},
                    {"name": "h", "response": {"type": "STRING"}},
                ]
            },
            {
                "googleSearch": {
                    "timeRangeFilter": {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-02T00:00:00Z"}
                }
            },
            {"urlContext": {}},
            {"codeExecution": {}},
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    },
    "options": {
        "contents": [{"parts": [{"text": "a"}]}],
        "generationConfig": {
            "candidateCount": 1,
            "stopSequences": ["a"],
            "maxOutputTokens": 5,
            "temperature": 0.5,
            "topP": 0.5,
            "topK": 5,
            "seed": 1,
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT"},
            "presencePenalty": 0.5,
            "frequencyPenalty": 0.5,
            "responseLogprobs": True,
            "logprobs": 2,
            "responseModalities": ["TEXT", "IMAGE"],
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 5},
            "imageConfig": {"aspectRatio": "1:1"},
            "mediaResolution": "MEDIA_RESOLUTION_LOW",
            "enableEnhancedCivicAnswers": True,
        },
    },
    "speech": {
        "contents": [{"parts": [{"text": "a"}]}],
        "generationConfig": {
            "speechConfig": {
                "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}},
                "languageCode": "de-DE",
            }
        },
    },
    "two voices": {
        "contents": [{"parts": [{"text": "a"}]}],
        "generationConfig": {
            "speechConfig": {
                "multiSpeakerVoiceConfig": {
                    "speakerVoiceConfigs": [
                        {"speaker": "A", "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}
                    ]
                }
            }
        },
    },
}
WRONG = {"an object": {"x": 1}, "a list": [[]], "half": 1.5, "a word": "wrong-word", "true": True}
"""Values in place of others."""
ON_PURPOSE = {
    r"parts\.contents\.\d\.role: a word": "types have any role; the API has two",
    r".*(\.fps|\.minimum|\.maximum|\.temperature|\.topP|Penalty): true": "Python's packages take true for 1",
    r"options.*\.topP: half": "types have no ranges",
    r"options.*(\.responseMimeType|\.aspectRatio): a word": "types have any text",
    r"options.*\.mediaResolution: a word": "google-genai only warns about members that it does not know",
    r".*(\.data|\.thoughtSignature): a word": "google-genai refuses base64 whose last bits are not zero",
}
"""What the simulator judges in another way, by the name of a body, and why."""


def places(value, path=""):
    """Yield each value of a body, with its path."""
    yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield from places(one, f"{path}.{name}")


def changed(body, path, value):
    """Return a body with another value at a path."""
    found = copy.deepcopy(body)
    *way, last = path.split(".")[1:]
    place = found
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    place[int(last) if isinstance(place, list) else last] = value
    return found


def corpus():
    """Yield bodies that are valid, and all that differ from one of them at one place."""
    for kind, deeper in (("objects", lambda one: {"n": one}), ("lists", lambda one: {"n": [one]})):
        for levels in (15, 40):
            args = reduce(lambda inner, _, deeper=deeper: deeper(inner), range(levels), {})
            call = {"functionCall": {"name": "f", "args": args}}
            yield f"{levels} {kind}", {"contents": [{"role": "model", "parts": [call]}]}
    for name, body in BODIES.items():
        yield name, body
        for path, value in places(body):
            if path:
                for kind, wrong in WRONG.items():
                    yield f"{name}{path}: {kind}", changed(body, path, wrong)
            if isinstance(value, dict):
                more = value | {"unknownField": 1}
                yield f"{name}{path}: an unknown field", changed(body, path, more) if path else more


CORPUS = dict(corpus())


def accepts(body):
    try:
        decode(json.dumps(body).encode(), schema.Request)
    except ApiRefusal:
        return False
    return True


@pytest.fixture(scope="module")
def verdicts():
    """Return the problem that Google's packages have with each body, None for a valid one."""
    judged = subprocess.run(
        [PYTHON, ROOT / "tests" / "foreign" / "google_types.py"],
        input=json.dumps([("request", body) for body in CORPUS.values()]),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr
    return dict(zip(CORPUS, json.loads(judged.stdout), strict=True))


def test_google_s_packages_accept_the_bodies_that_the_others_differ_from(verdicts):
    assert {name: verdicts[name] for name in BODIES} == dict.fromkeys(BODIES)


def test_the_simulator_judges_each_body_as_google_s_packages_do(verdicts):
    others = {name: problem for name, problem in verdicts.items() if accepts(CORPUS[name]) is not (problem is None)}
    assert {name: other for name, other in others.items() if not on_purpose(name)} == {}
    assert [reason for reason in ON_PURPOSE if not any(re.fullmatch(reason, name) for name in others)] == []


def on_purpose(name):
    return any(re.fullmatch(pattern, name) for pattern in ON_PURPOSE)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "Invalid JSON payload received."),
        (b'{"x": 1}', 'Unknown name "x": Cannot find field.'),
        (b'{"generation_config": {"topX": 1}}', """Unknown name "topX" at 'generation_config': Cannot find field."""),
        (b'{"contents": [{"parts": [{"text": 1}]}]}', "Invalid value at 'contents[0].parts[0].text'"),
    ],
)
def test_a_wrong_body_is_refused_with_the_words_of_the_api(body, words):
    with pytest.raises(ApiRefusal) as refused:
        decode(body, schema.Request)
    assert words in refused.value.message


def test_names_are_camel_case_or_snake_case_but_for_those_of_the_client():
    args = {"own_name": {"other_name": 1}}
    body = {"contents": [{"parts": [{"function_call": {"name": "f", "args": args}}]}]}
    (message,) = decode(json.dumps(body).encode(), schema.Request).contents
    assert message.parts[0].function_call.args == args


@pytest.mark.parametrize(("kind", "level"), [("OBJECT", "LOW"), ("object", "low"), (6, "Low")])
def test_enums_are_read_in_any_case_and_as_numbers(kind, level):
    function = {
        "name": "f",
        "parameters": {"type": kind, "properties": {"type": {"type": "string"}}, "required": ["type"]},
    }
    options = {"thinking_config": {"thinking_level": level}}
    body = {"contents": [], "tools": [{"function_declarations": [function]}], "generation_config": options}
    sent = decode(json.dumps(body).encode(), schema.Request)
    parameters = sent.tools[0].function_declarations[0].parameters
    assert (parameters.type, parameters.properties["type"].type, parameters.required) == ("OBJECT", "STRING", ["type"])
    assert sent.generation_config.thinking_config.thinking_level == "LOW"


@pytest.mark.parametrize("data", ["-_8=", "-_8", "+/8="])
def test_both_alphabets_of_base64_are_read(data):
    body = {"contents": [{"parts": [{"inlineData": {"mimeType": "a/b", "data": data}}]}]}
    assert decode(json.dumps(body).encode(), schema.Request).contents[0].parts[0].inline_data.data == b"\xfb\xff"


CALL, RESULT = {"functionCall": {"name": "f"}}, {"functionResponse": {"name": "f", "response": {}}}
SIGNED = CALL | {"thoughtSignature": SIGNATURE}
FUNCTION = {"functionDeclarations": [{"name": "f"}]}


def said(*messages):
    return [{"role": role, "parts": parts} for role, *parts in messages]


REFUSED = {
    "no contents": ({}, "contents is not specified"),
    "no parts": ({"contents": [{"role": "user"}]}, "must not be empty"),
    "no role": ({"contents": [{"parts": [{"text": "a"}]}] * 2}, "valid role"),
    "two kinds": ({"contents": said(("user", {"text": "a"} | CALL))}, "oneof"),
    "no kind": ({"contents": said(("user", {"thought": False}))}, "one initialized field"),
    "an empty file": ({"contents": said(("user", {"inlineData": {"mimeType": "a/b"}}))}, "no data"),
    "a result too few": (
        {"contents": said(("user", {"text": "a"}), ("model", SIGNED, CALL), ("user", RESULT))},
        "number",
    ),
    "a call of the user": ({"contents": said(("user", CALL), ("user", RESULT))}, "role"),
    "a call without signature": (
        {"contents": said(("user", {"text": "a"}), ("model", CALL), ("user", RESULT))},
        "missing",
    ),
    "a signature of another": (
        {"contents": said(("user", {"text": "a"}), ("model", SIGNED), ("user", RESULT))},
        "Corrupted",
    ),
    "one function twice": ({"tools": [FUNCTION, FUNCTION]}, "Duplicate"),
    "two schemas": (
        {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {}, "parametersJsonSchema": {}}]}]},
        "only one",
    ),
    "a schema of the answer without its type": ({"generationConfig": {"responseSchema": {}}}, "response_mime_type"),
    "two schemas of the answer": (
        {"generationConfig": {"responseSchema": {}, "responseJsonSchema": {}}},
        "Only one",
    ),
    "an unknown allowed function": (
        {"tools": [FUNCTION], "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["g"]}}},
        "not declared",
    ),
    "an allowed function in AUTO": (
        {"tools": [FUNCTION], "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["f"]}}},
        "ANY or VALIDATED",
    ),
    "functions and search": ({"tools": [FUNCTION, {"googleSearch": {}}]}, "include_server_side_tool_invocations"),
    "a picture": ({"generationConfig": {"responseModalities": ["IMAGE"]}}, "modalities: image"),
    "level and budget": (
        {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 1}}},
        "only one of",
    ),
}


def check(body, model="gemini-3.6-flash"):
    request = decode(json.dumps({"contents": said(("user", {"text": "a"}))} | body).encode(), schema.Request)
    RequestCheck(request, find(model, "generateContent"), lambda _: False).run()


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_together_is_refused(name):
    body, words = REFUSED[name]
    with pytest.raises(ApiRefusal, match=words):
        check({"contents": []} if name == "no contents" else body)


@pytest.mark.parametrize(
    "signature", ["skip_thought_signature_validator", "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I"]
)
def test_the_literal_stands_for_calls_of_other_models(signature):
    call = CALL | {"thoughtSignature": signature}
    check({"contents": said(("user", {"text": "a"}), ("model", call), ("user", RESULT))})


@pytest.mark.parametrize(
    ("model", "config", "words"),
    [
        ("gemini-2.5-flash-lite", {"thinkingConfig": {"thinkingLevel": "LOW"}}, "level is not supported"),
        ("gemini-3.1-pro-preview", {"thinkingConfig": {"thinkingLevel": "MINIMAL"}}, "MINIMAL"),
        ("gemini-3.1-pro-preview", {"thinkingConfig": {"thinkingBudget": 0}}, "Budget 0"),
        ("gemma-4-31b-it", {"thinkingConfig": {"includeThoughts": True}}, "not enabled"),
        ("gemini-3.6-flash", {"imageConfig": {"aspectRatio": "1:1"}}, "Image config"),
    ],
)
def test_options_that_a_model_does_not_have_are_refused(model, config, words):
    with pytest.raises(ApiRefusal, match=words):
        check({"generationConfig": config}, model)
