"""Reads the functions, their choice and the form of the answer from a request."""

import msgspec

from protocol.gemini import wire
from protocol.gemini.schemas import json_schema
from protocol.model import BadRequest, JsonOutput, Schema, Tool, ToolChoice
from protocol.structured.tool_checks import NO_ARGUMENTS, Mode, NameRule, check_schema, chosen, unique

_MISSING_TOOLS = (
    "file_search",
    "computer_use",
    "mcp_servers",
    "retrieval",
    "enterprise_web_search",
    "parallel_ai_search",
    "google_maps",
)
"""Tools of Google's that the site does not have; it searches, opens addresses and runs code without being asked."""
_MODES: dict[str, Mode] = {
    "": "auto",
    "MODE_UNSPECIFIED": "auto",
    "AUTO": "auto",
    "VALIDATED": "auto",
    "ANY": "required",
    "NONE": "none",
}
_CHOICE = "toolConfig.functionCallingConfig"
_NAMES = NameRule(longest=128, marks="_-.:")
_ENUM = "text/x.enum"
_FORMS = {"", "text/plain", "application/json", _ENUM}


def function_choice(body: wire.GenerateRequest) -> ToolChoice | None:
    """Return the functions that the model may call, or None.

    Raises:
        BadRequest: a tool is not supported, a function has no valid name or schema, or one that is not offered is
            chosen.

    """
    found: list[tuple[str, Tool]] = []
    for number, entry in enumerate(body.tools):
        for field in _MISSING_TOOLS:
            if getattr(entry, field) is not msgspec.UNSET:
                param = f"tools[{number}].{wire.camel(field)}"
                text = f"'{param}' is not supported by this gateway: offer 'functionDeclarations'."
                raise BadRequest(text, param=param, code="unsupported_parameter")
        for index, function in enumerate(entry.function_declarations):
            at = f"tools[{number}].functionDeclarations[{index}]"
            tool = Tool(
                name=function.name, description=function.description or "", parameters=_parameters(function, at)
            )
            found.append((f"{at}.name", tool))
    config = body.tool_config.function_calling_config
    mode = _MODES.get(config.mode.upper())
    if mode is None:
        known = ", ".join(f"'{name}'" for name in _MODES if name)
        raise BadRequest(f"'{_CHOICE}.mode' must be one of {known}.", param=f"{_CHOICE}.mode")
    field = f"{_CHOICE}.{'allowedFunctionNames' if config.allowed_function_names else 'mode'}"
    return chosen(unique(found, _NAMES), mode, config.allowed_function_names, field)


def _parameters(function: wire.FunctionDeclaration, at: str) -> Schema:
    if function.parameters_json_schema is not None:
        return check_schema(json_schema(function.parameters_json_schema), f"{at}.parametersJsonSchema")
    if not function.parameters:
        return NO_ARGUMENTS
    return check_schema(json_schema(function.parameters), f"{at}.parameters")


def json_output(config: wire.GenerationConfig) -> JsonOutput | None:
    """Return the JSON that the answer must be, or None for free text.

    Raises:
        BadRequest: the media type is not supported, or the schema is not valid.

    """
    form = config.response_mime_type.partition(";")[0].strip().lower()
    if form not in _FORMS:
        param = "generationConfig.responseMimeType"
        text = f"'{param}' must be 'text/plain', 'application/json' or '{_ENUM}'."
        raise BadRequest(text, param=param, code="unsupported_parameter")
    for name, given in (
        ("responseJsonSchema", config.response_json_schema),
        ("_responseJsonSchema", config.private_json_schema),
        ("responseSchema", config.response_schema),
    ):
        if given is not None:
            return JsonOutput(schema=check_schema(json_schema(given), f"generationConfig.{name}"))
    if form == _ENUM:
        param = "generationConfig.responseSchema"
        raise BadRequest(f"'{param}' is missing: '{_ENUM}' needs a schema with 'enum'.", param=param)
    return JsonOutput() if form == "application/json" else None


def is_enum(config: wire.GenerationConfig) -> bool:
    """Return whether the answer is the bare text of an enum's member, and no JSON."""
    return config.response_mime_type.partition(";")[0].strip().lower() == _ENUM
