"""The names by which the model knows functions, some of which clients put into namespaces.

The model gets a flat list: a function of a namespace keeps its own name if no other function has it, and is called
`NAMESPACE__NAME` otherwise. Clients get a call with both names again, and send both back.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from protocol.openai.responses import wire

NAMESPACE = "namespace"
"""The type of a tool that groups functions."""


class PlacedFunction(NamedTuple):
    """A tool, its path in the request, and the namespace that it is in."""

    tool: wire.NamespacedTool
    at: str
    namespace: wire.ResponseTool | None = None


def placed_tools(tools: Iterable[wire.ResponseTool] | None) -> list[PlacedFunction]:
    """Return the tools of a request, with those of each namespace in its place."""
    placed: list[PlacedFunction] = []
    for index, tool in enumerate(tools or ()):
        at = f"tools[{index}]"
        if tool.type == NAMESPACE:
            placed += [PlacedFunction(one, f"{at}.tools[{n}]", tool) for n, one in enumerate(tool.tools or ())]
        else:
            placed.append(PlacedFunction(tool, at))
    return placed


class FunctionNames:
    """The names of the functions of one request."""

    def __init__(self, placed: Iterable[PlacedFunction]) -> None:
        """Name each function of a request once."""
        named = [(one.tool.name or "", (one.namespace.name or "") if one.namespace else "") for one in placed]
        count = Counter(name for name, _ in named)
        self._flat = {
            (name, namespace): f"{namespace}__{name}" if namespace and count[name] > 1 else name
            for name, namespace in named
        }
        self._own = {flat: both for both, flat in self._flat.items()}

    @classmethod
    def shown(cls, tools: Iterable[Mapping[str, Any]]) -> "FunctionNames":
        """Return the names of the functions that a response repeats of its request."""
        return cls(placed_tools(msgspec.convert(list(tools), list[wire.ResponseTool])))

    def flat(self, name: str, namespace: str | None) -> str:
        """Return the name that the model knows; of a function that is not offered, its own."""
        return self._flat.get((name, namespace or ""), name)

    def own(self, flat: str) -> tuple[str, str | None]:
        """Return the name and the namespace of the function that the model calls by a name."""
        name, namespace = self._own.get(flat, (flat, ""))
        return name, namespace or None

    def within(self, namespace: str) -> tuple[str, ...]:
        """Return the names by which the model knows the functions of a namespace."""
        return tuple(flat for (_, place), flat in self._flat.items() if place == namespace)
