"""Tools and answer formats as clients send them: what is taken, and what is refused by name."""

import json

import pytest

from protocol.model import BadRequest, JsonOutput, Role, Tool, ToolChoice
from protocol.openai.chat import wire
from protocol.openai.chat.read_tools import json_output, tool_choice
from tests.protocol.openai.chat.test_read import chat, understood

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
PING = {"type": "function", "function": {"name": "ping"}}
HI = [{"role": "user", "content": "hi"}]


def body(**fields):
    return wire.decode_request(json.dumps({"model": "gemini-3-pro", "messages": HI, **fields}).encode())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"tools": []}, None),
        ({"tools": None, "tool_choice": "auto"}, None),
        ({"tools": [PING], "tool_choice": "none"}, None),
        ({"tools": [WEATHER, PING]}, {}),
        ({"tools": [WEATHER, PING], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
        ({"tools": [WEATHER, PING], "tool_choice": ""}, {}),
        ({"tools": [WEATHER, PING], "parallel_tool_calls": False}, {"parallel": False}),
        ({"tools": [WEATHER, PING], "tool_choice": "required"}, {"mode": "required"}),
        ({"tools": [WEATHER, PING], "tool_choice": {"type": "any"}}, {"mode": "required"}),
        ({"tools": [WEATHER, PING], "tool_choice": {"type": "auto"}}, {}),
        ({"tools": [WEATHER, PING], "tool_choice": {"type": "none"}}, None),
        (
            {"tools": [WEATHER, PING], "tool_choice": {"type": "function", "name": "ping"}},
            {"mode": "required", "allowed": ("ping",)},
        ),
        ({"tools": [{"type": "function", **WEATHER["function"]}, {"name": "ping"}]}, {}),
        (
            {"tools": [WEATHER, PING], "tool_choice": {"type": "function", "function": {"name": "ping"}}},
            {"mode": "required", "allowed": ("ping",)},
        ),
        (
            {
                "tools": [WEATHER, PING],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [PING]}},
            },
            {"allowed": ("ping",)},
        ),
        ({"functions": [WEATHER["function"], PING["function"]]}, {"parallel": False}),
        (
            {"functions": [WEATHER["function"], PING["function"]], "function_call": {"name": "ping"}},
            {"mode": "required", "allowed": ("ping",), "parallel": False},
        ),
    ],
)
def test_the_choice_of_tools(fields, expected):
    tools = (
        Tool(name="weather", parameters={"type": "object"}),
        Tool(name="ping", parameters={"type": "object", "properties": {}}),
    )
    assert tool_choice(body(**fields)) == (None if expected is None else ToolChoice(tools=tools, **expected))


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "tools[0].type", "'custom' are not supported"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing"),
        ({"tools": [PING, {"type": "function", "function": {"name": "a b"}}]}, "tools[1].function.name", "64"),
        ({"tools": [{"type": "function", "function": {"name": "x" * 65}}]}, "tools[0].function.name", "64"),
        ({"tools": [PING, PING]}, "tools[1].function.name", "Two tools"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "nonsense"}}}]},
            "tools[0].function.parameters",
            "JSON Schema",
        ),
        ({"tools": [PING], "tool_choice": "sometimes"}, "tool_choice", "'auto', 'none', 'required'"),
        (
            {"tools": [PING], "tool_choice": {"type": "function", "function": {"name": "pong"}}},
            "tool_choice",
            "'pong', which the request does not offer",
        ),
        ({"tool_choice": "required"}, "tool_choice", "offers no tools"),
        (
            {"tools": [PING], "tool_choice": {"type": "custom"}},
            "tool_choice",
            "'none', 'required' or {",
        ),
        ({"functions": [{"name": "a b"}]}, "functions[0].name", "64"),
        ({"function_call": {"name": "ping"}, "functions": [WEATHER["function"]]}, "function_call", "'ping'"),
    ],
)
def test_what_cannot_be_done_is_named(fields, param, words):
    with pytest.raises(BadRequest, match=words) as refused:
        tool_choice(body(**fields))
    assert refused.value.param == param


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonOutput()),
        ({"type": "json_schema", "json_schema": {"name": "N", "schema": SCHEMA}}, JsonOutput(schema=SCHEMA, name="N")),
        (
            {"type": "json_schema", "json_schema": {"name": "N", "schema": SCHEMA, "strict": True, "description": "d"}},
            JsonOutput(schema=SCHEMA, name="N", description="d"),
        ),
        ({"type": "json_schema", "json_schema": {"name": "N"}}, JsonOutput(name="N")),
    ],
)
def test_the_format_of_the_answer(form, expected):
    assert json_output(body(response_format=form).response_format) == expected


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "xml"}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}, "response_format.json_schema.name"),
        (
            {"type": "json_schema", "json_schema": {"name": "N", "schema": {"type": "nonsense"}}},
            "response_format.json_schema.schema",
        ),
    ],
)
def test_a_format_that_cannot_be_used_is_named(form, param):
    with pytest.raises(BadRequest) as refused:
        json_output(body(response_format=form).response_format)
    assert refused.value.param == param


async def test_results_stand_in_the_order_of_their_calls_with_their_names():
    calls = [
        {"id": identity, "type": "function", "function": {"name": name, "arguments": "{}"}}
        for identity, name in (("c1", "one"), ("c2", "two"))
    ]
    results = [{"role": "tool", "tool_call_id": identity, "content": identity} for identity in ("c2", "c1")]
    answer = {"role": "assistant", "content": None, "tool_calls": calls}
    request = await understood(chat(json.dumps([*HI, answer, *results, *HI])))
    tools = [turn for turn in request.turns if turn.role is Role.TOOL]
    assert [(turn.name, turn.text) for turn in tools] == [("one", "c1"), ("two", "c2")]


@pytest.mark.parametrize("model", ["gemini-3-pro-imagen", "gemini-3-pro-canvas", "gemini-3-pro-video"])
async def test_models_that_make_something_ignore_tools(model):
    request = await understood(
        json.dumps(
            {"model": model, "messages": HI, "tools": [PING], "response_format": {"type": "json_object"}}
        ).encode()
    )
    assert (request.tools, request.output) == (None, None)
