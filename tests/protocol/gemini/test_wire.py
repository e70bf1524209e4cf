import json

import msgspec
import pytest

from protocol.gemini import wire


def decode(**fields):
    return wire.decode_generate(json.dumps(fields).encode())


def test_both_spellings_of_a_name_are_read_in_one_body():
    body = decode(
        system_instruction={"role": "user", "parts": [{"text": "s"}]},
        contents=[{"role": "user", "parts": [{"inlineData": {"data": "QQ==", "display_name": "a.txt"}}]}],
        generation_config={"maxOutputTokens": "5", "thinkingConfig": {"include_thoughts": True}},
        toolConfig={"function_calling_config": {"mode": "ANY", "allowedFunctionNames": "f"}},
    )
    assert body.contents[0].parts[0].inline_data == wire.Blob(data="QQ==", display_name="a.txt")
    assert (body.generation_config.max_output_tokens, body.generation_config.thinking_config.include_thoughts) == (
        5,
        True,
    )
    assert body.tool_config.function_calling_config.allowed_function_names == ["f"]
    assert body.system_instruction.parts[0].text == "s"


def test_the_names_of_the_client_stay_as_they_are():
    part = {"function_call": {"name": "f", "args": {"my_key": {"other_key": 1}}}}
    schema = {"type": "OBJECT", "properties": {"first_name": {"type": "STRING"}}}
    body = decode(
        contents=[{"role": "model", "parts": [part]}],
        tools=[{"function_declarations": [{"name": "f", "parameters": schema, "parameters_json_schema": {"a_b": 1}}]}],
    )
    assert body.contents[0].parts[0].function_call.args == {"my_key": {"other_key": 1}}
    (function,) = body.tools[0].function_declarations
    assert (function.parameters, function.parameters_json_schema) == (schema, {"a_b": 1})


def test_numbers_of_enums_become_names():
    """Google's older SDK sends them, with `$alt=json;enum-encoding=int`."""
    body = decode(
        toolConfig={"functionCallingConfig": {"mode": 2}},
        generationConfig={"responseModalities": [1, 2]},
        contents=[{"parts": [{"executableCode": {"language": 1, "code": "1"}}, {"text": "language"}]}],
    )
    assert body.tool_config.function_calling_config.mode == "ANY"
    assert body.generation_config.response_modalities == ["TEXT", "IMAGE"]
    assert body.contents[0].parts[0].executable_code.language == "PYTHON"
    with pytest.raises(msgspec.ValidationError, match=r"functionCallingConfig\.mode"):
        decode(toolConfig={"functionCallingConfig": {"mode": 9}})


@pytest.mark.parametrize(
    "contents", ["hi", ["hi"], {"parts": {"text": "hi"}}, [{"parts": ["hi"]}], {"parts": "hi"}, [{"text": "hi"}]]
)
def test_contents_may_be_short(contents):
    (content,) = decode(contents=contents).contents
    message = wire.GeminiContent(parts=[content]) if isinstance(content, str) else content
    texts = [part if isinstance(part, str) else part.text for part in message.parts]
    assert [*texts, *([message.text] if message.text else [])] == ["hi"]


def test_a_wrong_field_is_named_by_its_path():
    with pytest.raises(msgspec.ValidationError, match=r"contents\[0\].parts\[0\].inlineData"):
        decode(contents=[{"parts": [{"inline_data": 5}]}])


def test_the_tokens_of_a_whole_request_can_be_counted():
    body = wire.decode_count(json.dumps({"generate_content_request": {"contents": "hi"}}).encode())
    assert body.counted.contents == ["hi"]
    assert wire.decode_count(b'{"contents": "ho"}').counted.contents == ["ho"]
