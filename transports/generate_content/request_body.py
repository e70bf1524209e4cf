"""Makes the body of a request to the API.

Source: "GenerateContentRequest", "Thinking".
"""

import json
from typing import Any

import msgspec

from protocol.model import GenerationRequest, JsonOutput, Schema, ToolChoice
from transports.generate_content import wire
from transports.generate_content.api_names import api_name
from transports.generate_content.request_contents import SYSTEM_ROLES, Inserts, contents_of
from transports.generate_content.schema_subset import api_schema


class ModelTraits(msgspec.Struct, frozen=True, kw_only=True):
    """What a model of the API can do, as far as the form of a request depends on it."""

    thinking: bool = True
    """Whether it thinks."""
    levels: bool = True
    """Whether thinking is set by a level (Gemini 3 and later) or by a budget of tokens."""
    signatures: bool = True
    """Whether calls in the history need a thought signature."""
    small_images: bool = False
    """Whether its images may have the size 512."""
    json_with_tools: bool = True
    """Whether it accepts functions and a form of the answer together."""
    minimal: bool = True
    """Whether it can do with the least thinking, or with none."""
    mixed_tools: bool = True
    """Whether it accepts tools of the API together with functions or a form of the answer."""
    speech_styles: bool = True
    """Whether it has a field for how a text is spoken; otherwise it reads that before the text."""


def generate_request(
    request: GenerationRequest,
    traits: ModelTraits,
    config: wire.GenerationConfig,
    inserts: Inserts,
) -> wire.GenerateContentRequest:
    """Return the body for a request; `config` has the options that do not depend on the conversation.

    A system message anywhere in the conversation belongs to the system instruction. Without other messages it is the
    user's, since the API refuses a request that has none.
    """
    system = [turn.text for turn in request.turns if turn.role in SYSTEM_ROLES and turn.text]
    output, tools = request.output, request.tools
    if output is not None and (tools is None or traits.json_with_tools):
        config = msgspec.structs.replace(
            config,
            response_mime_type="application/json",
            response_json_schema=api_schema(output.schema) if isinstance(output.schema, dict) else output.schema,
        )
    elif output is not None:
        system.append(_json_instructions(output))
    if inserts.instructions:
        system.append(inserts.instructions)
    offered, calling = tools_of(tools, inserts.tools)
    told = wire.Content(tuple(wire.ContentPart(text=text) for text in system)) if system else None
    contents = contents_of(request.turns, inserts, signed=traits.signatures)
    if told is not None and not contents:
        contents, told = (msgspec.structs.replace(told, role="user"),), None
    return wire.GenerateContentRequest(
        contents=contents,
        system_instruction=told,
        tools=offered,
        tool_config=calling,
        generation_config=config if config != wire.GenerationConfig() else None,
    )


def tools_of(
    choice: ToolChoice | None, own: tuple[wire.Tool, ...] = ()
) -> tuple[tuple[wire.Tool, ...], wire.ToolConfig | None]:
    """Return the functions with the API's own tools, and how they may be called.

    Only the modes VALIDATED and ANY can exclude some functions.
    """
    if choice is None:
        return own, None
    declared = tuple(
        wire.FunctionDeclaration(
            api_name(tool.name),
            tool.description,
            _parameters(tool.parameters),
        )
        for tool in choice.tools
    )
    allowed = tuple(map(api_name, choice.allowed))
    mode = "ANY" if choice.mode == "required" else "VALIDATED" if choice.allowed else "AUTO"
    return (wire.Tool(function_declarations=declared), *own), wire.ToolConfig(
        wire.FunctionCallingConfig(mode, allowed), include_server_side_tool_invocations=bool(own)
    )


def _parameters(schema: Schema) -> dict[str, Any] | None:
    """Return the schema of arguments as the API accepts it: that of an object; None: there are no arguments."""
    found = api_schema(schema) if isinstance(schema, dict) else {}
    return found if not found or "type" in found or "anyOf" in found else {"type": "object", **found}


def _json_instructions(output: JsonOutput) -> str:
    """Return the form of the answer in words, for models that accept it only without functions."""
    form = "a JSON object" if output.schema is None else f"JSON that fits this JSON Schema: {json.dumps(output.schema)}"
    return f"If you answer without calling a function, your whole answer is {form}. Write nothing before or after it."
