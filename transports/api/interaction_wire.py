"""Structs of interactions, both ways: names in snake case. Source: "Interactions", "Video"."""

from typing import Any

import msgspec


class SourceNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """A source of a text; its indexes count bytes of UTF-8."""

    type: str = ""
    url: str = ""
    title: str = ""
    start_index: int = 0
    end_index: int = 0


class InteractionContent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text or a file."""

    type: str = ""
    text: str = ""
    annotations: tuple[SourceNote, ...] = ()
    data: bytes = b""
    uri: str = ""
    mime_type: str = ""

    def __repr__(self) -> str:
        """Return a text without the content."""
        return f"InteractionContent(type={self.type!r})"


class InteractionStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step of an interaction."""

    type: str = ""
    content: tuple[InteractionContent, ...] = ()
    summary: tuple[InteractionContent, ...] = ()


class InteractionUsage(msgspec.Struct, frozen=True):
    """The counts of an interaction."""

    total_input_tokens: int = 0
    total_output_tokens: int = 0
    total_thought_tokens: int = 0
    total_cached_tokens: int = 0
    total_tool_use_tokens: int = 0


class InteractionProblem(msgspec.Struct, frozen=True):
    """Why an interaction failed."""

    code: str = ""
    message: str = ""


class Interaction(msgspec.Struct, frozen=True):
    """An interaction as the API answers it."""

    id: str
    status: str
    steps: tuple[InteractionStep, ...] = ()
    usage: InteractionUsage | None = None
    errors: tuple[InteractionProblem, ...] = ()


class InteractionDelta(msgspec.Struct, frozen=True):
    """What an event of a stream adds to a step."""

    type: str = ""
    content: InteractionContent | None = None


class InteractionEvent(msgspec.Struct, frozen=True):
    """An event of the stream of an interaction."""

    event_type: str = ""
    event_id: str = ""
    delta: InteractionDelta | None = None


class NewInteraction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body that begins an interaction in the background."""

    input: str | tuple[InteractionContent | InteractionStep, ...]
    model: str = ""
    agent: str = ""
    system_instruction: str = ""
    response_format: dict[str, str] | None = None
    generation_config: dict[str, Any] | None = None
    agent_config: dict[str, Any] | None = None
    previous_interaction_id: str = ""
    background: bool = False


encode_interaction = msgspec.json.Encoder().encode
decode_interaction_event = msgspec.json.Decoder(InteractionEvent, strict=False).decode
decode_interaction = msgspec.json.Decoder(Interaction, strict=False).decode
