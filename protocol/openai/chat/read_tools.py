"""Reads tools, their choice and the format of the answer from a chat request."""

from collections.abc import Sequence

from protocol.model import BadRequest, JsonOutput, Tool, ToolChoice
from protocol.openai.chat import wire
from protocol.structured.tool_checks import NO_ARGUMENTS, Mode, check_name, check_schema, chosen, unique

_MODES: dict[str, Mode] = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


def tool_choice(body: wire.ChatRequest) -> ToolChoice | None:
    """Return the tools that the model may call, or None.

    Raises:
        BadRequest: a tool is not a function, has no valid name or schema, or is chosen without being offered.

    """
    if body.functions is not None and not body.tools:
        mode, allowed = _choice(body.function_call, "function_call")
        functions = _functions(body.functions, "functions[{}]")
        return chosen(functions, mode, allowed, "function_call", parallel=False)
    offered: list[wire.FunctionTool] = []
    for index, tool in enumerate(body.tools or ()):
        if tool.type != "function":
            param = f"tools[{index}].type"
            text = f"Tools of the type '{tool.type}' are not supported: offer a 'function' (at '{param}')."
            raise BadRequest(text, param=param, code="unsupported_parameter")
        if tool.offered is None:
            raise BadRequest(f"'function' is missing (at 'tools[{index}]').", param=f"tools[{index}].function")
        offered.append(tool.offered)
    mode, allowed = _choice(body.tool_choice, "tool_choice")
    functions, parallel = _functions(offered, "tools[{}].function"), body.parallel_tool_calls is not False
    return chosen(functions, mode, allowed, "tool_choice", parallel=parallel)


def _functions(functions: Sequence[wire.FunctionTool], where: str) -> tuple[Tool, ...]:
    found: list[tuple[str, Tool]] = []
    for index, function in enumerate(functions):
        at = where.format(index)
        schema = NO_ARGUMENTS if function.parameters is None else function.parameters
        parameters = check_schema(schema, f"{at}.parameters")
        tool = Tool(name=function.name, description=function.description or "", parameters=parameters)
        found.append((f"{at}.name", tool))
    return unique(found)


def _choice(chosen: str | wire.NamedChoice | wire.NamedFunction | None, field: str) -> tuple[Mode, tuple[str, ...]]:
    """Return the mode, and the names of the tools that may be called."""
    match chosen:
        case wire.NamedFunction(name=name) | wire.NamedChoice(function=wire.NamedFunction(name=name)):
            return "required", (name,)
        case wire.NamedChoice(allowed_tools=wire.AllowedTools() as allowed):
            names = tuple(str(tool.get("function", tool).get("name", "")) for tool in allowed.tools)
            return allowed.mode, names
        case wire.NamedChoice(name=name) if name:
            return "required", (name,)
        case wire.NamedChoice(type=mode) | mode:
            found = _MODES.get((mode or "auto").lower())
            if found is None:
                form = "{'type': 'function', 'function': {'name': …}}"
                raise BadRequest(f"'{field}' must be 'auto', 'none', 'required' or {form}.", param=field)
            return found, ()


def json_output(form: wire.ResponseFormat | None) -> JsonOutput | None:
    """Return the JSON that the answer must be, or None for free text.

    Raises:
        BadRequest: the format is unknown, or its schema is not valid.

    """
    if form is None or form.type in {"text", ""}:
        return None
    if form.type == "json_object":
        return JsonOutput()
    if form.type != "json_schema":
        text = "'response_format.type' must be 'text', 'json_object' or 'json_schema'."
        raise BadRequest(text, param="response_format.type")
    described, param = form.json_schema, "response_format.json_schema"
    if described is None:
        raise BadRequest(f"'{param}' is missing.", param=param)
    if described.name:
        check_name(described.name, f"{param}.name")
    if described.schema is None:
        return JsonOutput(name=described.name, description=described.description or "")
    check_schema(described.schema, f"{param}.schema")
    return JsonOutput(schema=described.schema, name=described.name, description=described.description or "")
