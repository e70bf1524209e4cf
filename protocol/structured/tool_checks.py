"""Checks the tools and schemas of a request; each dialect reads them in its own form."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from protocol.model import BadRequest, Schema, Tool, ToolChoice
from protocol.structured.json_schema import InvalidSchema, compiled

MOST_TOOLS = 512
"""The most tools of one request."""
NO_ARGUMENTS: Schema = {"type": "object", "properties": {}}
"""The schema of a tool that takes no arguments."""

Mode = Literal["auto", "required", "none"]


class NameRule(msgspec.Struct, frozen=True, kw_only=True):
    """What an API allows as the name of a tool or a format."""

    longest: int = 64
    marks: str = "_-"
    """What a name may contain apart from letters and digits."""

    def fits(self, name: str) -> bool:
        """Return whether a name fits the rule."""
        return len(name) <= self.longest and re.fullmatch(rf"[A-Za-z0-9{re.escape(self.marks)}]+", name) is not None


_OPENAI = NameRule()


def check_name(name: str, param: str, rule: NameRule = _OPENAI) -> None:
    """Check the name of a tool or a format.

    Raises:
        BadRequest: it does not fit the rule.

    """
    if not rule.fits(name):
        marks = " and ".join(f"'{mark}'" for mark in rule.marks)
        text = f"'{param}' must consist of 1 to {rule.longest} letters, digits, {marks}."
        raise BadRequest(text, param=param)


def check_schema(schema: Schema, param: str) -> Schema:
    """Return a schema after checking that it can be used.

    Raises:
        BadRequest: it is not a JSON Schema, refers to another document, or is too complex.

    """
    try:
        compiled(schema)
    except InvalidSchema as error:
        text = f"'{param}' is not a usable JSON Schema: {error}."
        raise BadRequest(text, param=param, code="invalid_schema") from None
    return schema


def unique(tools: Iterable[tuple[str, Tool]], rule: NameRule = _OPENAI) -> tuple[Tool, ...]:
    """Return tools, each given with the path of its name, after checking their names.

    Raises:
        BadRequest: a name is not valid, or two tools have the same one.

    """
    found: dict[str, Tool] = {}
    for param, tool in tools:
        check_name(tool.name, param, rule)
        if tool.name in found:
            raise BadRequest(f"Two tools have the name '{tool.name}' (at '{param}').", param=param)
        found[tool.name] = tool
    return tuple(found.values())


def chosen(
    tools: Sequence[Tool], mode: Mode, allowed: Sequence[str], field: str, *, parallel: bool = True
) -> ToolChoice | None:
    """Return the choice of a request, or None if the model may call nothing.

    `allowed` are the names of the only tools that may be called, if there are any; `field` is the path of the choice.

    Raises:
        BadRequest: a tool is named that is not offered, or a call is required without tools.

    """
    offered = {tool.name for tool in tools}
    for name in allowed:
        if name not in offered:
            raise BadRequest(f"'{field}' names the tool '{name}', which the request does not offer.", param=field)
    if mode == "required" and not tools:
        raise BadRequest(f"'{field}' requires a tool call, but the request offers no tools.", param=field)
    if mode == "none" or not tools:
        return None
    return ToolChoice(tools=tuple(tools), mode=mode, allowed=tuple(allowed), parallel=parallel)
