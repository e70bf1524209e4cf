"""What is asked: one internal request, owned by nobody's vendor."""

from enum import StrEnum

import msgspec

from protocol.model.caller import Caller
from protocol.model.names import Selection


class Role(StrEnum):
    """Who speaks a turn."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """A piece of text in a turn."""

    text: str


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the assistant made in an earlier turn; `arguments` is JSON text, as it was given."""

    id: str
    name: str
    arguments: str


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the conversation."""

    role: Role
    parts: tuple[TextPart, ...]
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a model, by whom."""

    id: str
    """The request's id, as in `x-request-id`."""
    caller: Caller
    selection: Selection
    turns: tuple[Turn, ...]
    """The conversation, oldest first; never empty."""
    attempts_before: int = 0
    """How often the client's SDK says it tried already."""
