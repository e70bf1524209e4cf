import json

import pytest

from protocol.gemini import wire
from protocol.gemini.functions import function_choice, is_enum, json_output
from protocol.model import BadRequest, JsonOutput

F = {"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}


def request(**fields):
    return wire.decode_generate(json.dumps(fields).encode())


def choice(mode=None, allowed=(), tools=None):
    config = {"functionCallingConfig": {"mode": mode, "allowedFunctionNames": list(allowed)}}
    tools = [{"functionDeclarations": [F, {"name": "g"}]}] if tools is None else tools
    return function_choice(request(tools=tools, toolConfig=config))


def test_functions_have_json_schemas():
    f, g = choice().tools
    assert (f.name, f.description, f.parameters["properties"]) == ("f", "d", {"a": {"type": "string"}})
    assert g.parameters["type"] == "object"
    raw = {"type": "object", "properties": {"nullable": {"const": 1}}}
    (tool,) = choice(tools=[{"functionDeclarations": [{"name": "f", "parameters_json_schema": raw}]}]).tools
    assert tool.parameters == raw
    upper = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}
    (tool,) = choice(tools=[{"functionDeclarations": [{"name": "f", "parametersJsonSchema": upper}]}]).tools
    assert tool.parameters == {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(None, "auto"), ("AUTO", "auto"), ("any", "required"), ("VALIDATED", "auto"), ("MODE_UNSPECIFIED", "auto")],
)
def test_modes(mode, expected):
    assert choice(mode).mode == expected
    assert choice(mode, ["g"]).allowed == ("g",)


@pytest.mark.parametrize("name", ["files.read", "srv:list-all", "_x", "f" * 128])
def test_names_that_google_allows(name):
    (tool,) = choice(tools=[{"functionDeclarations": [{"name": name}], "computerUse": None}]).tools
    assert tool.name == name


def test_without_functions_there_is_no_choice():
    assert choice("NONE") is None
    assert choice("AUTO", tools=[{"googleSearch": {}}, {"urlContext": {}}, {"code_execution": {}}]) is None


@pytest.mark.parametrize(
    ("work", "param"),
    [
        (lambda: choice("SOMETIMES"), "toolConfig.functionCallingConfig.mode"),
        (lambda: choice("ANY", ["h"]), "toolConfig.functionCallingConfig.allowedFunctionNames"),
        (lambda: choice("ANY", tools=[]), "toolConfig.functionCallingConfig.mode"),
        (lambda: choice(tools=[{"file_search": {"topK": 1}}]), "tools[0].fileSearch"),
        (lambda: choice(tools=[{"computerUse": {}}]), "tools[0].computerUse"),
        (lambda: choice(tools=[{"mcpServers": []}]), "tools[0].mcpServers"),
        (lambda: choice(tools=[{"functionDeclarations": [{"name": "a b"}]}]), "tools[0].functionDeclarations[0].name"),
        (lambda: choice(tools=[{"functionDeclarations": [F, F]}]), "tools[0].functionDeclarations[1].name"),
        (
            lambda: choice(tools=[{"functionDeclarations": [{**F, "parameters": {"type": "FUNNY"}}]}]),
            "tools[0].functionDeclarations[0].parameters",
        ),
    ],
)
def test_refusals_name_the_field(work, param):
    with pytest.raises(BadRequest) as refused:
        work()
    assert refused.value.param == param


def output(**config):
    return json_output(request(generationConfig=config).generation_config)


def test_forms_of_the_answer():
    assert output() is None
    assert output(responseMimeType="text/plain") is None
    assert output(responseMimeType="application/json") == JsonOutput()
    upper = {"type": "STRING", "enum": ["a"]}
    assert output(response_mime_type="application/json", response_schema=upper).schema == {**upper, "type": "string"}
    for name in ("responseJsonSchema", "response_json_schema", "_responseJsonSchema"):
        for kind in ("integer", "INTEGER"):
            form = output(responseMimeType="application/json", **{name: {"type": kind}})
            assert form.schema == {"type": "integer"}
    config = request(generationConfig={"responseMimeType": "text/x.enum", "responseSchema": upper}).generation_config
    assert is_enum(config)


@pytest.mark.parametrize(
    ("config", "param"),
    [
        ({"responseMimeType": "image/png"}, "generationConfig.responseMimeType"),
        ({"responseMimeType": "text/x.enum"}, "generationConfig.responseSchema"),
        ({"responseSchema": {"type": "FUNNY"}}, "generationConfig.responseSchema"),
        ({"responseJsonSchema": {"type": 9}}, "generationConfig.responseJsonSchema"),
    ],
)
def test_forms_that_are_refused(config, param):
    with pytest.raises(BadRequest) as refused:
        output(**config)
    assert refused.value.param == param
