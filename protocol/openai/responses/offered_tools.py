"""Reads tools, their choice and the format of the text from a request to the Responses API."""

from collections.abc import Mapping
from typing import Any

import msgspec

from protocol.http.ignored import IgnoredFields
from protocol.http.picture_parameters import PictureParameters, read_picture_parameters
from protocol.model import BadRequest, JsonOutput, Tool, ToolChoice
from protocol.openai.responses import wire
from protocol.openai.responses.function_names import FunctionNames, placed_tools
from protocol.structured.tool_checks import (
    MOST_TOOLS,
    NO_ARGUMENTS,
    Mode,
    NameRule,
    check_name,
    check_schema,
    chosen,
    unique,
)

_SEARCHES = ("web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11")
"""The site searches without being asked; the API does not."""
_CODE = "code_interpreter"
"""Both the site and the API run Python of the model's own; no files of the client's are there."""
_PICTURES = "image_generation"
_IGNORED_OPTIONS = IgnoredFields(
    {
        "action": ("auto", "generate"),
        "filters": (),
        "input_fidelity": ("low",),
        "input_image_mask": (),
        "moderation": ("auto",),
        "partial_images": (0,),
        "quality": ("auto",),
        "search_context_size": ("medium",),
        "user_location": (),
    }
)
"""Options of tools that have no effect: the website has no such options."""
_FLAT_NAMES = NameRule(longest=256)
"""Names of functions with their namespace."""
_MODES: dict[str, Mode] = {"": "auto", "auto": "auto", "none": "none", "required": "required"}


class OfferedTools(msgspec.Struct, frozen=True, kw_only=True):
    """The tools of a request."""

    names: FunctionNames
    functions: ToolChoice | None
    """The functions that the model may call; None: none."""
    pictures: PictureParameters | None
    """The parameters of pictures that are returned as items; None: the client did not ask for such."""
    draws: bool
    """Whether the answer must be a picture."""
    searches: bool = False
    """Whether the model may search the web."""
    runs_code: bool = False
    """Whether the model may run code."""


def read_tools(body: wire.ResponseRequest) -> OfferedTools:
    """Return the tools of a request.

    Raises:
        BadRequest: a tool is not supported, has no valid name or schema, or is chosen without being offered.

    """
    found: list[tuple[str, Tool]] = []
    pictures: PictureParameters | None = None
    placed = placed_tools(body.tools)
    names = FunctionNames(placed)
    for tool, at, namespace in placed:
        if tool.type == "function":
            found.append((f"{at}.name", _function(tool, at, namespace, names)))
        elif tool.type == _PICTURES and namespace is None:
            pictures = _pictures(tool, at)
        elif tool.type not in {*_SEARCHES, _CODE} or namespace is not None:
            text = f"Tools of the type '{tool.type}' are not supported: offer a 'function' (at '{at}.type')."
            raise BadRequest(text, param=f"{at}.type", code="unsupported_parameter")
    if len(found) > MOST_TOOLS:
        raise BadRequest(f"'tools' may have up to {MOST_TOOLS} functions.", param="tools")
    functions = unique(found, _FLAT_NAMES)
    mode, allowed = _choice(body.tool_choice, names)
    draws = allowed == (_PICTURES,) or (mode == "required" and not allowed and not functions and pictures is not None)
    if draws and pictures is None:
        text = "'tool_choice' names the tool 'image_generation', which the request does not offer."
        raise BadRequest(text, param="tool_choice")
    if draws or (mode == "required" and not functions and body.tools):
        mode, allowed = "auto", ()
    parallel = body.parallel_tool_calls is not False
    return OfferedTools(
        names=names,
        functions=chosen(functions, mode, allowed, "tool_choice", parallel=parallel) if not draws else None,
        pictures=pictures if mode != "none" else None,
        draws=draws,
        searches=body.tool_choice != "none" and any(tool.type in _SEARCHES for tool in body.tools or ()),
        runs_code=body.tool_choice != "none" and any(tool.type == _CODE for tool in body.tools or ()),
    )


def _function(tool: wire.NamespacedTool, at: str, namespace: wire.ResponseTool | None, names: FunctionNames) -> Tool:
    if tool.name is None:
        raise BadRequest(f"'name' is missing (at '{at}').", param=f"{at}.name")
    check_name(tool.name, f"{at}.name")
    if namespace is not None:
        check_name(namespace.name or "", f"{at.partition('.')[0]}.name", _FLAT_NAMES)
    schema = NO_ARGUMENTS if tool.parameters is None else tool.parameters
    parameters = check_schema(schema, f"{at}.parameters")
    description = tool.description or ""
    if namespace is not None and namespace.description and tool is (namespace.tools or [None])[0]:
        description = f"{namespace.description}\n{description}"
    name = names.flat(tool.name, namespace.name if namespace is not None else None)
    return Tool(name=name, description=description, parameters=parameters)


def _pictures(tool: wire.NamespacedTool, at: str) -> PictureParameters:
    try:
        pictures = read_picture_parameters(tool, b"", draws=True)
    except BadRequest as error:
        error.param = f"{at}.{error.param}"
        raise
    return msgspec.structs.replace(pictures, ignored=tuple(f"{at}.{path}" for path in pictures.ignored))


def _choice(choice: str | wire.ResponseToolChoice | None, names: FunctionNames) -> tuple[Mode, tuple[str, ...]]:
    """Return the mode, and the names of the tools that may be called."""
    match choice:
        case None:
            return "auto", ()
        case wire.ResponseToolChoice() if choice.type in {*_SEARCHES, _CODE}:
            return "auto", ()
        case str() if choice in _MODES:
            return _MODES[choice], ()
        case wire.ResponseToolChoice(type="function" | "namespace", name=str()):
            return "required", _named(msgspec.to_builtins(choice), names)
        case wire.ResponseToolChoice(type="image_generation"):
            return "required", (_PICTURES,)
        case wire.ResponseToolChoice(type="allowed_tools"):
            allowed = [name for tool in choice.tools or () for name in _named(tool, names)]
            return _MODES.get(choice.mode or "", "auto"), tuple(allowed)
        case _:
            text = "'tool_choice' must be 'auto', 'none', 'required' or an object that names an offered function."
            raise BadRequest(text, param="tool_choice")


def _named(choice: Mapping[str, Any], names: FunctionNames) -> tuple[str, ...]:
    """Return the functions that an object names; none if it names another kind of tool."""
    name = str(choice.get("name", ""))
    match choice.get("type", "function"):
        case "namespace":
            return names.within(name) or (name,)
        case "function":
            return (names.flat(name, choice.get("namespace")),)
        case _:
            return ()


def ignored_options(body: wire.ResponseRequest) -> list[str]:
    """Return the paths of the tools' options that would change the answer, and have no effect."""
    tools = body.tools or ()
    return [f"tools[{index}].{option}" for index, tool in enumerate(tools) for option in _IGNORED_OPTIONS.sent(tool)]


def json_output(text: wire.TextOptions | None) -> JsonOutput | None:
    """Return the JSON that the answer must be, or None for free text.

    Raises:
        BadRequest: the format is unknown, or its schema is not valid.

    """
    form = text.format if text is not None else None
    if form is None or form.type == "text":
        return None
    if form.type not in {"json_object", "json_schema"}:
        message = "'text.format.type' must be 'text', 'json_object' or 'json_schema'."
        raise BadRequest(message, param="text.format.type")
    if form.type == "json_object":
        return JsonOutput()
    if form.schema is None:
        raise BadRequest("'schema' is missing (at 'text.format').", param="text.format.schema")
    if form.name:
        check_name(form.name, "text.format.name")
    check_schema(form.schema, "text.format.schema")
    return JsonOutput(schema=form.schema, name=form.name or "", description=form.description or "")


def shown_tool(tool: wire.ResponseTool) -> dict[str, Any]:
    """Return a tool as a response shows it, without options that have no effect and may have any value."""
    options: dict[str, Any] = msgspec.to_builtins(tool)
    shown = {name: value for name, value in options.items() if name not in _IGNORED_OPTIONS.names}
    match tool.type:
        case "function":
            parameters = tool.parameters if isinstance(tool.parameters, dict) else None
            return {**shown, "parameters": parameters, "strict": tool.strict}
        case "namespace":
            return {
                **shown,
                "description": shown.get("description") or tool.name or "",
                "tools": shown.get("tools", []),
            }
        case _:
            return shown


def shown_choice(choice: str | wire.ResponseToolChoice | None) -> str | dict[str, Any]:
    """Return the choice of tools as a response shows it."""
    if isinstance(choice, str | None):
        return choice or "auto"
    shown: dict[str, Any] = msgspec.to_builtins(choice)
    return {"mode": "auto", "tools": [], **shown} if choice.type == "allowed_tools" else shown


def shown_text(text: wire.TextOptions | None) -> dict[str, Any]:
    """Return the options of the text as a response shows them."""
    form = text.format if text is not None else None
    shown = {"format": {"name": "", **msgspec.to_builtins(form)} if form is not None else {"type": "text"}}
    verbosity = text.verbosity if text is not None else None
    return {**shown, "verbosity": verbosity} if verbosity in ("low", "medium", "high") else shown
