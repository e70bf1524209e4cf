"""Tools that the model may call, and the JSON that it must answer with.

A dialect puts them into the request. A transport passes them to its upstream in the upstream's own form, or describes
them in the prompt. `protocol.structured` checks what comes back.
"""

from typing import Any, Literal

import msgspec

Schema = dict[str, Any] | bool
"""A JSON Schema."""


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function that the client offers to the model."""

    name: str
    description: str = ""
    parameters: Schema = {}
    """The JSON Schema of the arguments."""


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The tools of a request, and how the model may use them."""

    tools: tuple[Tool, ...]
    """Never empty; names are unique."""
    mode: Literal["auto", "required"] = "auto"
    """Whether the model must call a tool."""
    allowed: tuple[str, ...] = ()
    """The names of the tools that this answer may call; empty: all of them."""
    parallel: bool = True
    """Whether one answer may contain several calls."""

    @property
    def callable(self) -> tuple[Tool, ...]:
        """The tools that this answer may call."""
        return tuple(tool for tool in self.tools if not self.allowed or tool.name in self.allowed)


class JsonOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer is one JSON value."""

    schema: Schema | None = None
    """Its JSON Schema; None: any object."""
    name: str = ""
    description: str = ""
