"""Reads tools, their choice and the format of the answer from a request."""

from protocol.anthropic import wire
from protocol.anthropic.client_tools import client_tool
from protocol.model import BadRequest, JsonOutput, Tool, ToolChoice
from protocol.structured.tool_checks import NO_ARGUMENTS, Mode, NameRule, check_schema, chosen, unique

_NAMES = NameRule(longest=128)
_CUSTOM = frozenset({"custom", "function"})
_NEEDLESS = ("web_search_", "web_fetch_", "code_execution_", "tool_search_tool_")
"""Beginnings of the types of Anthropic's own tools that need no call: the model searches, runs code, and knows all."""


def tool_choice(body: wire.CountTokens) -> ToolChoice | None:
    """Return the tools that the model may call, or None.

    Raises:
        BadRequest: a tool is not supported, has no valid name or schema, or is chosen without being offered.

    """
    needless: set[str] = set()
    found: list[tuple[str, Tool]] = []
    for index, tool in enumerate(body.tools or ()):
        at = f"tools[{index}]"
        if tool.type.startswith(_NEEDLESS):
            needless.add(tool.name)
            continue
        found.append((f"{at}.name", _tool(tool, at)))
    mode, allowed = _choice(body.tool_choice)
    if needless and (not found or allowed in {(name,) for name in needless}):
        mode, allowed = ("auto" if mode == "required" else mode), ()
    parallel = body.tool_choice is None or not body.tool_choice.disable_parallel_tool_use
    return chosen(unique(found, _NAMES), mode, allowed, "tool_choice", parallel=parallel)


def _tool(tool: wire.ToolDefinition, at: str) -> Tool:
    if tool.type not in _CUSTOM:
        known = client_tool(tool.type, tool.name)
        if known is None:
            text = f"Tools of the type '{tool.type}' are not supported: offer one of your own (at '{at}.type')."
            raise BadRequest(text, param=f"{at}.type", code="unsupported_parameter")
        return known
    schema = NO_ARGUMENTS if tool.input_schema is None else tool.input_schema
    parameters = check_schema(schema, f"{at}.input_schema")
    return Tool(name=tool.name, description=tool.description or "", parameters=parameters)


def _choice(choice: wire.ToolChoiceField | None) -> tuple[Mode, tuple[str, ...]]:
    """Return the mode, and the names of the tools that may be called."""
    match choice:
        case None | wire.ToolChoiceField(type="auto"):
            return "auto", ()
        case wire.ToolChoiceField(type="none"):
            return "none", ()
        case wire.ToolChoiceField(type="any"):
            return "required", ()
        case wire.ToolChoiceField(type="tool", name=str() as name):
            return "required", (name,)
        case _:
            text = "'tool_choice' must be of the type 'auto', 'any', 'none', or 'tool' with the 'name' of a tool."
            raise BadRequest(text, param="tool_choice")


def json_output(body: wire.CountTokens) -> JsonOutput | None:
    """Return the JSON that the answer must be, or None for free text.

    Raises:
        BadRequest: the format is unknown, or its schema is not valid.

    """
    nested = body.output_config.format if body.output_config is not None else None
    form, at = (nested, "output_config.format") if nested is not None else (body.output_format, "output_format")
    if form is None:
        return None
    if form.type != "json_schema" or form.schema is None:
        raise BadRequest(f"'{at}' must be of the type 'json_schema' and have a 'schema'.", param=at)
    return JsonOutput(schema=check_schema(form.schema, f"{at}.schema"))
