"""Makes the bodies that begin interactions: a film, the plan of a research, and the research itself. No I/O.

Media of earlier answers stand in the user's next message. A film of an earlier answer is edited: by its interaction,
if the key that made it serves again, or else as a file of the request, together with what was said after it.

Source: "Interactions", "Video".
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from protocol.model import (
    Capability,
    GenerationRequest,
    MediaKind,
    MediaPart,
    MediaRef,
    Part,
    Role,
    TextPart,
    Turn,
    Unsupported,
)
from transports.api.generated_file import interaction_of
from transports.api.interaction_wire import InteractionContent, InteractionStep, NewInteraction
from transports.generate_content.wire import ContentPart

INTERACTION_DEFAULTS: Mapping[str, str] = {
    "pro-video": "gemini-omni-1.2-flash",
    "flash-video": "gemini-omni-1.1-flash",
    "flash-lite-video": "gemini-omni-1.1-flash",
    "pro-deepsearch": "deep-research-max-preview-04-2026",
    "flash-deepsearch": "deep-research-preview-04-2026",
    "flash-lite-deepsearch": "deep-research-preview-04-2026",
}
"""Models and agents by family and capability."""
SYSTEM_ROLES = frozenset({Role.SYSTEM, Role.DEVELOPER})
_CONFIRM = "Start the research."
_OPTIONS: dict[str, Any] = {"type": "deep-research", "thinking_summaries": "auto", "visualization": "off"}
_RESOLUTIONS = (("360p", 640 * 360), ("720p", 1280 * 720), ("1080p", 1920 * 1080))
_LONGEST_RESOLUTION = "4k"
_ALMOST = 1.1
"""Films with up to this many times the pixels of a resolution have it."""
_SHORTEST_FILM, _LONGEST_FILM = 3, {"gemini-omni-1.1-flash": 10}
_USUAL_LONGEST_FILM = 15


class FilmToEdit(msgspec.Struct, frozen=True):
    """A film of an earlier answer, and what is to be changed."""

    ref: MediaRef
    turns: tuple[Turn, ...]
    """What was said after it."""

    def within(self) -> tuple[Turn, ...]:
        """Return the turns of a request that contains the film."""
        parts = tuple(part for turn in self.turns for part in turn.parts)
        return (Turn(role=Role.USER, parts=(MediaPart(ref=self.ref), *parts)),)


def needs_paid_key(model: str) -> bool:
    """Return whether the API refuses a model to all free keys."""
    return "omni" in model


def film_to_edit(request: GenerationRequest) -> FilmToEdit | None:
    """Return the newest film of the conversation, or the one that the request names; None: make another film."""
    if request.selection.capability is not Capability.VIDEO:
        return None
    options = request.video
    if options is not None and options.edits is not None:
        return FilmToEdit(options.edits, (Turn(role=Role.USER, parts=(TextPart(text=options.change),)),))
    for place in reversed(range(len(request.turns))):
        for part in request.turns[place].parts:
            if isinstance(part, MediaPart) and part.ref.kind is MediaKind.VIDEO:
                return FilmToEdit(part.ref, request.turns[place + 1 :]) if request.turns[place + 1 :] else None
    return None


def first_interaction(
    request: GenerationRequest, model: str, files: Mapping[int, ContentPart], edited: FilmToEdit | None = None
) -> NewInteraction:
    """Return the body for a request: a film, or the plan of a research.

    `files` are the parts of the body by the `id()` of those of the request; `edited` is a film whose interaction is
    continued by the request.

    Raises:
        Unsupported: the model makes no films of this length.

    """
    steps = tuple(steps_of([turn for turn in request.turns if turn.role not in SYSTEM_ROLES], files))
    body = NewInteraction(
        input=steps[0].content if len(steps) == 1 and steps[0].type == "user_input" else steps,
        system_instruction="\n\n".join(turn.text for turn in request.turns if turn.role in SYSTEM_ROLES),
        background=True,
    )
    if request.selection.capability is Capability.DEEPSEARCH:
        options = _OPTIONS | {"collaborative_planning": True}
        return msgspec.structs.replace(body, agent=model, agent_config=options)
    return msgspec.structs.replace(
        body,
        model=model,
        response_format=film_form(request, model),
        generation_config={"video_config": {"task": task_of(request, files, edited)}},
        previous_interaction_id=interaction_of(edited.ref) if edited is not None else "",
    )


def confirmation(agent: str, plan: str) -> NewInteraction:
    """Return the body that begins the research of a plan, which is an interaction."""
    return NewInteraction(
        input=_CONFIRM, agent=agent, agent_config=_OPTIONS, previous_interaction_id=plan, background=True
    )


def task_of(request: GenerationRequest, files: Mapping[int, ContentPart], edited: FilmToEdit | None) -> str:
    """Return what is to be made of the files: one picture begins to move, several are models for a film."""
    parts = [part for turn in request.turns for part in turn.parts if id(part) in files]
    kinds = [_kind(files[id(part)]) for part in parts]
    if edited is not None or "video" in kinds:
        return "edit"
    return {0: "text_to_video", 1: "image_to_video"}.get(kinds.count("image"), "reference_to_video")


def film_form(request: GenerationRequest, model: str) -> dict[str, str]:
    """Return the shape, resolution and length of a film; raises as `first_interaction`."""
    tall = request.aspect is not None and request.aspect[0] < request.aspect[1]
    form = {"type": "video", "aspect_ratio": "9:16" if tall else "16:9", "delivery": "uri"}
    pixels, seconds = request.pixels, request.video.seconds if request.video is not None else None
    if pixels is not None:
        fitting = (name for name, size in _RESOLUTIONS if pixels <= _ALMOST * size)
        form["resolution"] = next(fitting, _LONGEST_RESOLUTION)
    if seconds is not None:
        longest = _LONGEST_FILM.get(model, _USUAL_LONGEST_FILM)
        if not _SHORTEST_FILM <= seconds <= longest:
            message = f"This model makes videos of {_SHORTEST_FILM} to {longest} seconds: ask for another length."
            raise Unsupported(message, param="seconds")
        form["duration"] = f"{seconds}s"
    return form


def steps_of(turns: list[Turn], files: Mapping[int, ContentPart]) -> Iterator[InteractionStep]:
    """Yield the turns as steps; media of an answer stand in the next message of the user."""
    carried: list[InteractionContent] = []
    for turn in turns:
        contents = [_content(part, files) for part in turn.parts if not isinstance(part, TextPart) or part.text]
        if turn.role is Role.ASSISTANT:
            carried += [content for content in contents if content.type != "text"]
            told = [content for content in contents if content.type == "text"]
        else:
            told, carried = [*carried, *contents], []
        if told:
            yield InteractionStep("model_output" if turn.role is Role.ASSISTANT else "user_input", tuple(told))
    if carried:
        yield InteractionStep("user_input", tuple(carried))


def _content(part: Part, files: Mapping[int, ContentPart]) -> InteractionContent:
    if isinstance(part, TextPart):
        return InteractionContent("text", text=part.text)
    sent = files[id(part)]
    if sent.inline_data is not None:
        return InteractionContent(_kind(sent), data=sent.inline_data.data, mime_type=sent.inline_data.mime_type)
    assert sent.file_data is not None, "a file has content"  # noqa: S101
    return InteractionContent(_kind(sent), uri=sent.file_data.file_uri, mime_type=sent.file_data.mime_type)


def _kind(sent: ContentPart) -> str:
    file = sent.inline_data or sent.file_data
    kind = file.mime_type.partition("/")[0] if file is not None else ""
    return kind if kind in {"image", "video", "audio"} else "document"
