import json

import pytest

from protocol.model import BadRequest
from protocol.openai.responses import wire
from protocol.openai.responses.offered_tools import read_tools

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
PICTURE = {"type": "image_generation"}
SEARCH = {"type": "web_search_preview"}
AGENTS = {
    "type": "namespace",
    "name": "agents",
    "description": "Helpers.",
    "tools": [FUNCTION, FUNCTION | {"name": "g"}],
}


def tools(*offered, **fields):
    body = {"model": "m", "input": "x", "tools": list(offered)} | fields
    return read_tools(wire.decode_request(json.dumps(body)))


@pytest.mark.parametrize(
    ("choice", "functions", "pictures", "draws"),
    [
        (None, True, True, False),
        ("auto", True, True, False),
        ("required", True, True, False),
        ("none", False, False, False),
        (PICTURE, False, True, True),
        (SEARCH, True, True, False),
        ({"type": "web_search_2025_08_26"}, True, True, False),
    ],
)
def test_the_choice_says_what_may_come(choice, functions, pictures, draws):
    found = tools(FUNCTION, PICTURE, SEARCH, tool_choice=choice)
    assert (found.functions is not None, found.pictures is not None, found.draws) == (functions, pictures, draws)


def test_a_picture_is_required_if_no_function_is_offered():
    assert tools(PICTURE, tool_choice="required").draws
    assert tools(SEARCH, tool_choice="required").functions is None


def test_a_few_tools_may_be_allowed():
    allowed = [{"type": "function", "name": "f"}, {"type": "web_search"}]
    choice = {"type": "allowed_tools", "mode": "required", "tools": allowed}
    found = tools(FUNCTION, FUNCTION | {"name": "g"}, tool_choice=choice).functions
    assert (found.mode, found.allowed) == ("required", ("f",))


def test_functions_of_a_namespace_have_their_own_names_unless_others_have_them():
    found = tools(FUNCTION, AGENTS, AGENTS | {"name": "more", "tools": [FUNCTION]})
    called = {tool.name: tool.description for tool in found.functions.tools}
    assert called == {"f": "", "agents__f": "Helpers.\n", "g": "", "more__f": "Helpers.\n"}
    assert [found.names.own(name) for name in called] == [("f", None), ("f", "agents"), ("g", "agents"), ("f", "more")]
    assert [found.names.flat(*both) for both in (("f", None), ("f", "agents"), ("g", "agents"), ("h", "agents"))] == [
        "f",
        "agents__f",
        "g",
        "h",
    ]


@pytest.mark.parametrize(
    ("choice", "allowed"),
    [
        ({"type": "namespace", "name": "agents"}, ("agents__f", "g")),
        ({"type": "function", "name": "f", "namespace": "agents"}, ("agents__f",)),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "namespace", "name": "agents"}]},
            ("agents__f", "g"),
        ),
    ],
)
def test_functions_of_a_namespace_may_be_chosen(choice, allowed):
    assert tools(FUNCTION, AGENTS, tool_choice=choice).functions.allowed == allowed


@pytest.mark.parametrize(
    ("offered", "choice", "param"),
    [
        ([{"type": "function"}], None, "tools[0].name"),
        ([FUNCTION | {"parameters": {"type": 5}}], None, "tools[0].parameters"),
        ([PICTURE | {"background": "transparent"}], None, "tools[0].background"),
        ([{"type": "file_search"}], None, "tools[0].type"),
        ([FUNCTION], {"type": "function", "name": "g"}, "tool_choice"),
        ([FUNCTION], PICTURE, "tool_choice"),
        ([FUNCTION], {"type": "mcp"}, "tool_choice"),
        ([FUNCTION], "sometimes", "tool_choice"),
        ([AGENTS | {"tools": [FUNCTION, {"type": "custom", "name": "c"}]}], None, "tools[0].tools[1].type"),
        ([AGENTS | {"tools": [FUNCTION, FUNCTION]}], None, "tools[0].tools[1].name"),
        ([AGENTS | {"name": None}], None, "tools[0].name"),
        ([FUNCTION], {"type": "namespace", "name": "agents"}, "tool_choice"),
        ([], "required", "tool_choice"),
    ],
)
def test_an_error_names_its_field(offered, choice, param):
    with pytest.raises(BadRequest) as failed:
        tools(*offered, tool_choice=choice)
    assert failed.value.param == param
