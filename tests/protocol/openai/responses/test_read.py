import json

import pytest

from protocol.http.conversation import Attachment
from protocol.model import BadRequest, Catalogue, Role
from protocol.openai.responses import wire
from protocol.openai.responses.function_names import FunctionNames, placed_tools
from protocol.openai.responses.read import PlacedItem, items_of, messages_of, new_response
from tests.protocol.conftest import make_context

CATALOGUE = Catalogue.build()


def messages(items, instructions=None):
    body = wire.decode_request(json.dumps({"model": "gemini-3-pro", "input": items}))
    placed = [PlacedItem(item, f"input[{index}]") for index, item in enumerate(items_of(body))]
    return messages_of(placed, instructions, FunctionNames(placed_tools(body.tools)))


def test_items_of_one_answer_are_one_message():
    found = messages(
        [
            {"role": "developer", "content": "d"},
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
            {
                "type": "message",
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "reasoning_text", "text": "hm"},
                    {"type": "output_text", "text": "x", "annotations": []},
                ],
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "function_call", "call_id": "e", "name": "g", "arguments": ""},
            {"type": "function_call_output", "call_id": "e", "output": "r"},
            {"type": "function_call_output", "call_id": "c", "output": []},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        ],
        "i",
    )
    assert [(message.role, message.parts) for message in found] == [
        (Role.SYSTEM, ("i",)),
        (Role.DEVELOPER, ("d",)),
        (Role.USER, ("a", "b")),
        (Role.ASSISTANT, ("x",)),
        (Role.TOOL, ("r",)),
        (Role.TOOL, ("",)),
        (Role.ASSISTANT, ("no",)),
    ]
    assert [(call.id, call.name, call.arguments) for call in found[3].tool_calls] == [
        ("c", "f", "{}"),
        ("e", "g", "{}"),
    ]


def test_a_request_is_read_as_clients_write_it():
    message = {"role": "user", "content": {"type": "input_text", "text": "a"}}
    tool = {"type": "namespace", "name": "n", "tools": {"type": "function", "name": "f", "strict": "true"}}
    fields = {"max_output_tokens": "16", "metadata": {}, "previous_response_id": "", "tools": tool, "store": "false"}
    body = wire.decode_request(json.dumps({"model": "gemini-3-pro", "input": message, **fields}))
    assert body.input == [wire.InputItem(role="user", content=[wire.InputPart(type="input_text", text="a")])]
    assert (body.max_output_tokens, body.metadata, body.previous_response_id) == (16, None, None)
    assert (body.store, body.tools[0].tools[0].strict) == (False, True)


def test_later_responses_have_greater_ids():
    body = wire.decode_request(b'{"model": "gemini-3-pro", "input": "x"}')
    times = [0.0, 1.7e9, 1.7e9 + 0.001, 1.7e9 + 1, 4e9]
    ids = [new_response(body, CATALOGUE.resolve(body.model), make_context(created=time)).id for time in times]
    assert ids == sorted(ids)
    assert {len(one) for one in ids} == {len("resp_") + 48}


def test_files_are_found_in_every_place():
    parts = [
        {"type": "input_image", "image_url": "https://x.example/a.png", "detail": "original"},
        {"type": "input_file", "filename": "a.txt", "file_data": "YQ=="},
        {"type": "input_file", "file_url": "https://x.example/a.pdf"},
        {"type": "input_image", "image_url": {"url": "data:,"}},
    ]
    found = messages(
        [
            {"role": "user", "content": parts},
            {"type": "function_call_output", "call_id": "c", "output": parts[:1]},
            {"type": "image_generation_call", "id": "ig_1", "result": "AAAA"},
            {"type": "image_generation_call", "id": "ig_2", "result": "AAAA", "url": "https://x.example/media/m"},
        ]
    )
    attached = [part for message in found for part in message.parts if isinstance(part, Attachment)]
    assert [(one.source.form, one.param) for one in attached] == [
        ("image", "input[0].content[0].image_url"),
        ("file", "input[0].content[1].file_data"),
        ("link", "input[0].content[2].file_url"),
        ("image", "input[0].content[3].image_url"),
        ("image", "input[1].output[0].image_url"),
        ("file", "input[2].result"),
    ]
    assert found[-1].urls == ("https://x.example/media/m",)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "mcp_call"}, "input[0].type"),
        ({"type": "function_call", "call_id": "c"}, "input[0].name"),
        ({"role": "user", "content": [{"type": "input_video"}]}, "input[0].content[0]"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "input[0].content[0].image_url"),
        ({"role": "user", "content": [{"type": "input_file"}]}, "input[0].content[0].file_data"),
        ({"role": "user", "content": ""}, "input"),
    ],
)
def test_what_cannot_be_read_is_named(item, param):
    with pytest.raises(BadRequest) as failed:
        messages([item])
    assert failed.value.param == param
