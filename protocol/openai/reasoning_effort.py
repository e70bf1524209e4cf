"""Reads the reasoning effort of a request: the website has two levels, plain and extended thinking."""

from protocol.http.option_fields import effort_of
from protocol.http.thinking import think_longer
from protocol.model import Caller, Selection

_HIGH = frozenset({"high", "xhigh", "max"})
"""Efforts that stand for extended thinking."""


def with_effort(selection: Selection, effort: str | None, caller: Caller) -> Selection:
    """Return the extended form of a model if the effort is high, the model has one, and the license covers it."""
    return think_longer(selection, caller) if effort in _HIGH else selection


def has_effect(selection: Selection, effort: str | None, applied: frozenset[str] = frozenset()) -> bool:
    """Return whether the effort, if there is one, is that of the model that `with_effort` returned, or is applied."""
    return not effort or (selection.extended and effort in _HIGH) or bool(effort_of(effort, selection, applied))
