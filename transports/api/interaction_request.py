"""Makes the bodies that begin interactions: a film, the plan of a research, and the research itself. No I/O.

Source: "Interactions", "Video".
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from protocol.model import Capability, FilePart, GenerationRequest, Part, Role, TextPart, Turn, Unsupported
from transports.api.interaction_wire import InteractionContent, InteractionStep, NewInteraction

INTERACTION_DEFAULTS: Mapping[str, str] = {
    "pro-video": "gemini-omni-1.2-flash",
    "flash-video": "gemini-omni-1.1-flash",
    "flash-lite-video": "gemini-omni-1.1-flash",
    "pro-deepsearch": "deep-research-max-preview-04-2026",
    "flash-deepsearch": "deep-research-preview-04-2026",
    "flash-lite-deepsearch": "deep-research-preview-04-2026",
}
"""Models and agents by family and capability."""
_SYSTEM = frozenset({Role.SYSTEM, Role.DEVELOPER})
_CONFIRM = "Start the research."
_OPTIONS: dict[str, Any] = {"type": "deep-research", "thinking_summaries": "auto", "visualization": "off"}


def needs_paid_key(model: str) -> bool:
    """Return whether the API refuses a model to all free keys."""
    return "omni" in model


def first_interaction(request: GenerationRequest, model: str) -> NewInteraction:
    """Return the body for a request: a film, or the plan of a research.

    Raises:
        Unsupported: a file of the conversation cannot be sent.

    """
    told = _input([turn for turn in request.turns if turn.role not in _SYSTEM])
    body = NewInteraction(
        input=told,
        system_instruction="\n\n".join(turn.text for turn in request.turns if turn.role in _SYSTEM),
        background=True,
    )
    if request.selection.capability is Capability.DEEPSEARCH:
        options = _OPTIONS | {"collaborative_planning": True}
        return msgspec.structs.replace(body, agent=model, agent_config=options)
    tall = request.aspect is not None and request.aspect[0] < request.aspect[1]
    parts = [part for turn in request.turns for part in turn.parts]
    has_picture = any(isinstance(part, FilePart) and part.mime.startswith("image/") for part in parts)
    return msgspec.structs.replace(
        body,
        model=model,
        response_format={"type": "video", "aspect_ratio": "9:16" if tall else "16:9", "delivery": "uri"},
        generation_config={"video_config": {"task": "image_to_video" if has_picture else "text_to_video"}},
    )


def confirmation(agent: str, plan: str) -> NewInteraction:
    """Return the body that begins the research of a plan, which is an interaction."""
    return NewInteraction(
        input=_CONFIRM, agent=agent, agent_config=_OPTIONS, previous_interaction_id=plan, background=True
    )


def _input(turns: list[Turn]) -> tuple[InteractionContent, ...] | tuple[InteractionStep, ...]:
    """Return one turn as its contents, and a conversation as steps."""
    steps = tuple(
        InteractionStep(
            "model_output" if turn.role is Role.ASSISTANT else "user_input", tuple(map(_content, turn.parts))
        )
        for turn in turns
    )
    return steps[0].content if len(steps) == 1 else steps


def _content(part: Part) -> InteractionContent:
    match part:
        case TextPart():
            return InteractionContent("text", text=part.text)
        case FilePart():
            kind = part.mime.partition("/")[0]
            kind = kind if kind in {"image", "video", "audio"} else "document"
            return InteractionContent(kind, data=part.loaded().data, mime_type=part.mime)
        case _:
            message = "A picture of an earlier turn cannot be used here. Send it as a file instead."
            raise Unsupported(message, param="messages")
