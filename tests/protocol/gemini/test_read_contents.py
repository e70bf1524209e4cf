import json

import pytest

from protocol.gemini import wire
from protocol.gemini.read_contents import messages_of
from protocol.http.conversation import Attachment
from protocol.model import BadRequest, Role


def read(contents, **fields):
    return messages_of(wire.decode_generate(json.dumps({"contents": contents, **fields}).encode()))


def user(*parts):
    return {"role": "user", "parts": list(parts)}


def model(*parts):
    return {"role": "model", "parts": list(parts)}


def call(name, identity=None, **args):
    return {"functionCall": {"name": name, "args": args, **({"id": identity} if identity else {})}}


def result(name, value, identity=None):
    return {"functionResponse": {"name": name, "response": value, **({"id": identity} if identity else {})}}


def test_roles_and_texts():
    found = read([user("a", {"text": "b"}), model({"text": "c"}), user("d")], systemInstruction="s")
    assert [(message.role, message.parts) for message in found] == [
        (Role.SYSTEM, ("s",)),
        (Role.USER, ("a", "b")),
        (Role.ASSISTANT, ("c",)),
        (Role.USER, ("d",)),
    ]


@pytest.mark.parametrize(
    "instruction",
    ["s", {"role": "user", "parts": [{"text": "s"}]}, {"text": "s"}, [{"text": "s"}], {"parts": {"text": "s"}}],
)
def test_the_forms_of_a_system_instruction(instruction):
    assert read("hi", system_instruction=instruction)[0].parts == ("s",)


def test_the_chunks_of_a_stream_are_one_message_without_its_thoughts():
    chunks = [
        model({"text": "I think", "thought": True}),
        model({"text": "one t"}),
        model({"text": "wo"}, call("f", "1")),
    ]
    found = read([user("a"), *chunks, model({"text": ""}), user("b")])
    assert [message.role for message in found] == [Role.USER, Role.ASSISTANT, Role.USER]
    assert found[1].parts == ("one two",)
    assert [one.name for one in found[1].tool_calls] == ["f"]


def test_results_belong_to_calls_by_id_or_else_by_name_and_order():
    calls = model(call("f", n=1), call("g"), call("f", n=2), call("h", "own"))
    results = user(
        result("g", {"r": "g"}), result("h", {"r": "h"}, "own"), result("f", {"r": "f1"}), result("f", {"r": "f2"}, "?")
    )
    found = read([user("a"), calls, results])
    ids = [one.id for one in found[1].tool_calls]
    assert len(set(ids)) == 4
    assert [message.role for message in found[2:]] == [Role.TOOL] * 4
    assert {message.tool_call_id: json.loads(message.parts[0])["r"] for message in found[2:]} == dict(
        zip(ids, ["f1", "g", "f2", "h"], strict=True)
    )
    assert json.loads(found[1].tool_calls[2].arguments) == {"n": 2}


HARD = 'It is "sunny".\n\\o/'


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ({"result": HARD}, HARD),
        ({"output": HARD}, HARD),
        ({"result": {"a": 1}}, '{"result":{"a":1}}'),
        ({"result": "x", "more": 1}, '{"result":"x","more":1}'),
        ({"error": "x"}, '{"error":"x"}'),
    ],
)
def test_a_result_that_is_a_text_comes_as_it_is(response, text):
    assert read([model(call("f")), user(result("f", response))])[1].parts == (text,)


@pytest.mark.parametrize("role", ["user", "function", "tool"])
def test_results_may_have_files_and_words_after_them(role):
    given = result("f", {"ok": True})
    given["functionResponse"]["parts"] = [{"inlineData": {"mimeType": "image/png", "data": "QQ=="}}]
    found = read([model(call("f")), {"role": role, "parts": [given, {"text": "more"}]}])
    assert [message.role for message in found] == [Role.ASSISTANT, Role.TOOL, Role.USER]
    assert found[1].parts[1].param == "contents[1].parts[0].functionResponse.parts[0].inlineData.data"
    assert found[2].parts == ("more",)


def test_files_are_inline_or_at_an_address():
    (message,) = read(
        [
            user(
                {"inlineData": {"mime_type": "image/png", "data": "QQ=="}},
                {"file_data": {"fileUri": "https://example.com/a.pdf", "mimeType": "application/pdf"}},
            )
        ]
    )
    assert all(isinstance(part, Attachment) for part in message.parts)
    assert [(part.source.form, part.source.text) for part in message.parts] == [
        ("file", "QQ=="),
        ("link", "https://example.com/a.pdf"),
    ]
    assert message.parts[1].param == "contents[0].parts[1].fileData.fileUri"


@pytest.mark.parametrize(("value", "text"), [({}, "{}"), (None, "{}"), ({"a": None}, '{"a":null}'), ("ok", '"ok"')])
def test_any_result_is_json(value, text):
    assert read([model(call("f")), user(result("f", value))])[1].parts == (text,)


def test_empty_parts_are_left_out():
    assert read([user({"text": ""}, {"thoughtSignature": "x"})]) == []
    (message,) = read([user({"text": ""}, {"text": "a"}, {})])
    assert message.parts == ("a",)


def test_code_that_the_model_ran_is_text():
    code = {"executableCode": {"language": "PYTHON", "code": "print(1)"}}
    output = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}
    assert read([model(code, output)])[0].parts == ("```python\nprint(1)\n```\n```\n1\n```\n",)


@pytest.mark.parametrize(
    ("contents", "param"),
    [
        ([{"role": "robot", "parts": ["x"]}], "contents[0].role"),
        (
            [user({"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}})],
            "contents[0].parts[0].fileData.fileUri",
        ),
        ([user({"fileData": {"fileUri": "gs://bucket/file"}})], "contents[0].parts[0].fileData.fileUri"),
        ([user({"fileData": {"fileUri": "https://youtu.be/x"}})], "contents[0].parts[0].fileData.fileUri"),
        (
            [user({"fileData": {"fileUri": "https://www.YouTube.com/watch?v=x"}})],
            "contents[0].parts[0].fileData.fileUri",
        ),
        ([{"role": "system", "parts": [{"inlineData": {"data": "QQ=="}}]}], "contents[0].parts[0]"),
    ],
)
def test_refusals_name_the_field(contents, param):
    with pytest.raises(BadRequest) as refused:
        read(contents)
    assert refused.value.param == param
