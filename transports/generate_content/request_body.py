"""Makes the body of a request to the API.

Source: "GenerateContentRequest", "Thinking".
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from protocol.model import (
    FilePart,
    GenerationRequest,
    JsonOutput,
    MediaPart,
    Role,
    TextPart,
    ToolCall,
    ToolChoice,
    Turn,
)
from transports.generate_content import wire

_SYSTEM = frozenset({Role.SYSTEM, Role.DEVELOPER})


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


class Inserts(msgspec.Struct, frozen=True, kw_only=True):
    """What a request contains besides its own texts."""

    files: Mapping[int, wire.ContentPart] = {}
    """The files and media of the turns, by the `id()` of their part."""
    signature: Callable[[ToolCall], str] = lambda _: ""
    """Returns the thought signature of a call; empty: not known."""
    instructions: str = ""
    """Instructions of the gateway for this kind of answer."""
    tools: tuple[wire.Tool, ...] = ()
    """Tools of the API."""


def generate_request(
    request: GenerationRequest,
    traits: ModelTraits,
    config: wire.GenerationConfig,
    inserts: Inserts,
) -> wire.GenerateContentRequest:
    """Return the body for a request; `config` has the options that do not depend on the conversation.

    A system message anywhere in the conversation belongs to the system instruction.
    """
    system = [turn.text for turn in request.turns if turn.role in _SYSTEM and turn.text]
    output, tools = request.output, request.tools
    if output is not None and (tools is None or traits.json_with_tools):
        config = msgspec.structs.replace(
            config, response_mime_type="application/json", response_json_schema=output.schema
        )
    elif output is not None:
        system.append(_json_instructions(output))
    if inserts.instructions:
        system.append(inserts.instructions)
    offered, calling = tools_of(tools, inserts.tools)
    return wire.GenerateContentRequest(
        contents=tuple(contents_of(request.turns, traits, inserts)),
        system_instruction=wire.Content(tuple(wire.ContentPart(text=text) for text in system)) if system else None,
        tools=offered,
        tool_config=calling,
        generation_config=config if config != wire.GenerationConfig() else None,
    )


def contents_of(turns: Sequence[Turn], traits: ModelTraits, inserts: Inserts) -> Iterator[wire.Content]:
    """Yield the messages; the results of one answer's calls are one message, as the API requires."""
    results: list[wire.ContentPart] = []
    for turn in turns:
        if turn.role is Role.TOOL:
            results += result_parts(turn, inserts)
            continue
        if results:
            yield wire.Content(tuple(results), "user")
            results = []
        if turn.role in _SYSTEM:
            continue
        parts = [
            wire.ContentPart(text=part.text) if isinstance(part, TextPart) else inserts.files[id(part)]
            for part in turn.parts
            if not isinstance(part, TextPart) or part.text
        ]
        if turn.role is Role.ASSISTANT:
            parts += call_parts(turn.tool_calls, traits, inserts)
        if parts:
            yield wire.Content(tuple(parts), "model" if turn.role is Role.ASSISTANT else "user")
    if results:
        yield wire.Content(tuple(results), "user")


def call_parts(calls: Sequence[ToolCall], traits: ModelTraits, inserts: Inserts) -> Iterator[wire.ContentPart]:
    """Yield the calls of one answer; of several at once only the first one has a signature."""
    for number, call in enumerate(calls):
        signature = inserts.signature(call)
        if not signature and not number and traits.signatures:
            signature = wire.SKIP_SIGNATURE
        arguments = _object(call.arguments)
        yield wire.ContentPart(
            function_call=wire.FunctionCall(
                name=call.name, args=arguments if arguments is not None else {}, id=call.id
            ),
            thought_signature=signature,
        )


def result_parts(turn: Turn, inserts: Inserts) -> Iterator[wire.ContentPart]:
    """Yield the result of a call: a compact JSON object as it is, another text as `{"result": …}`.

    Only files within the request belong to the result itself; an uploaded file follows it.
    """
    files = [inserts.files[id(part)] for part in turn.parts if isinstance(part, FilePart | MediaPart)]
    response = _exact_object(turn.text)
    yield wire.ContentPart(
        function_response=wire.FunctionResponse(
            name=turn.name or "",
            response=response if response is not None else {"result": turn.text},
            id=turn.tool_call_id or "",
            parts=tuple(wire.FunctionResponsePart(file.inline_data) for file in files if file.inline_data is not None),
        )
    )
    yield from (file for file in files if file.inline_data is None)


def _object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is, or None."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _exact_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is if it loses nothing as an object, or None.

    The API keeps objects as `google.protobuf.Struct`: blanks between the values, doubled names and large numbers would
    be lost, and a client may look for its text in the answer.
    """
    value = _object(text)
    return value if value is not None and json.dumps(value, separators=(",", ":"), ensure_ascii=False) == text else None


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
            tool.name, tool.description, tool.parameters or None if isinstance(tool.parameters, dict) else None
        )
        for tool in choice.tools
    )
    mode = "ANY" if choice.mode == "required" else "VALIDATED" if choice.allowed else "AUTO"
    return (wire.Tool(function_declarations=declared), *own), wire.ToolConfig(
        wire.FunctionCallingConfig(mode, choice.allowed), include_server_side_tool_invocations=bool(own)
    )


def _json_instructions(output: JsonOutput) -> str:
    """Return the form of the answer in words, for models that accept it only without functions."""
    form = "a JSON object" if output.schema is None else f"JSON that fits this JSON Schema: {json.dumps(output.schema)}"
    return f"If you answer without calling a function, your whole answer is {form}. Write nothing before or after it."
