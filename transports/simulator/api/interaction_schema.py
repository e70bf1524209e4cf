"""Structs of requests for interactions: names in snake case only, and other fields are refused.

Source: "Interactions", "Video".
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Delivery = Literal["inline", "uri"]
FilmTask = Literal["text_to_video", "image_to_video", "reference_to_video", "edit", "extend", "upscale"]
PictureAspect = Literal[
    "1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9", "1:4", "4:1", "1:8", "8:1",
]  # fmt: skip


class StrictForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object of a request; unknown fields are refused."""


class TextInput(StrictForm, frozen=True, tag_field="type", tag="text"):
    """A text."""

    text: str
    annotations: list[dict[str, Any]] = []


class FileInput(StrictForm, frozen=True):
    """A file, within the request or by its address."""

    data: bytes = b""
    uri: str = ""
    mime_type: str = ""


class ImageInput(FileInput, frozen=True, tag_field="type", tag="image"):
    """A picture."""

    resolution: Literal["low", "medium", "high", "ultra_high"] | None = None


class VideoInput(FileInput, frozen=True, tag_field="type", tag="video"):
    """A film."""

    name: str = ""
    resolution: Literal["low", "medium", "high", "ultra_high"] | None = None


class AudioInput(FileInput, frozen=True, tag_field="type", tag="audio"):
    """A sound."""

    channels: int = 0
    sample_rate: int = 0


class DocumentInput(FileInput, frozen=True, tag_field="type", tag="document"):
    """A document."""

    resolution: Literal["low", "medium", "high", "ultra_high"] | None = None


ContentInput = TextInput | ImageInput | VideoInput | AudioInput | DocumentInput
CONTENT = (TextInput, ImageInput, VideoInput, AudioInput, DocumentInput)


class UserStep(StrictForm, frozen=True, tag_field="type", tag="user_input"):
    """A message of the user."""

    content: list[ContentInput]


class OutputStep(StrictForm, frozen=True, tag_field="type", tag="model_output"):
    """A message of the model."""

    content: list[ContentInput]


class ThoughtInput(StrictForm, frozen=True, tag_field="type", tag="thought"):
    """A thought of the model."""

    signature: str = ""
    summary: list[ContentInput] = []


class CallStep(StrictForm, frozen=True, tag_field="type", tag="function_call"):
    """A call of a function."""

    id: str
    name: str
    arguments: dict[str, Any]


class ResultStep(StrictForm, frozen=True, tag_field="type", tag="function_result"):
    """The result of a function."""

    call_id: str
    result: str | dict[str, Any] | list[dict[str, Any]]
    name: str = ""
    is_error: bool = False


StepInput = UserStep | OutputStep | ThoughtInput | CallStep | ResultStep


class SentFunctionTool(StrictForm, frozen=True, tag_field="type", tag="function"):
    """A function that is offered."""

    name: Annotated[str, Meta(pattern=r"\A[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}\Z")]
    description: str = ""
    parameters: dict[str, Any] | None = None


class WebSearchTool(StrictForm, frozen=True, tag_field="type", tag="google_search"):
    """The API's search."""

    search_types: list[Literal["web_search", "image_search", "enterprise_web_search"]] = []


class UrlTool(StrictForm, frozen=True, tag_field="type", tag="url_context"):
    """The API reads addresses."""


class CodeTool(StrictForm, frozen=True, tag_field="type", tag="code_execution"):
    """The API runs code."""


class TextForm(StrictForm, frozen=True, tag_field="type", tag="text"):
    """The form of a text."""

    mime_type: Literal["application/json", "text/plain"] | None = None
    schema: dict[str, Any] | None = None


class PictureForm(StrictForm, frozen=True, tag_field="type", tag="image"):
    """The form of a picture."""

    aspect_ratio: PictureAspect | None = None
    image_size: Literal["512", "1K", "2K", "4K"] | None = None
    mime_type: Literal["image/jpeg"] | None = None
    delivery: Delivery = "inline"


class FilmForm(StrictForm, frozen=True, tag_field="type", tag="video"):
    """The form of a film."""

    aspect_ratio: Literal["16:9", "9:16"] = "16:9"
    resolution: Literal["360p", "720p", "1080p", "4k"] = "720p"
    duration: Annotated[str, Meta(pattern=r"\A[0-9]{1,3}s\Z")] | None = None
    delivery: Delivery = "inline"


AnswerForm = TextForm | PictureForm | FilmForm


class FilmOptions(StrictForm, frozen=True):
    """What is to be made."""

    task: FilmTask | None = None


class InteractionOptions(StrictForm, frozen=True):
    """Options of a model."""

    thinking_level: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    thinking_summaries: Literal["auto", "none"] = "none"
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: int | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=5)] = []
    tool_choice: Literal["auto", "any", "none", "validated"] | dict[str, Any] | None = None
    speech_config: list[dict[str, str]] | None = None
    video_config: FilmOptions | None = None


class ResearchOptions(StrictForm, frozen=True):
    """Options of an agent for research."""

    type: Literal["deep-research"]
    thinking_summaries: Literal["auto", "none"] = "none"
    visualization: Literal["off", "auto"] = "auto"
    collaborative_planning: bool = False
    enable_bigquery_tool: bool = False


class SafetyOption(StrictForm, frozen=True):
    """A safety setting."""

    type: Literal["hate_speech", "dangerous_content", "harassment", "sexually_explicit", "civic_integrity"]
    threshold: Literal["block_low_and_above", "block_medium_and_above", "block_only_high", "block_none", "off"]


class InteractionRequest(StrictForm, frozen=True):
    """The body that begins an interaction."""

    input: str | ContentInput | list[ContentInput | StepInput]
    model: str = ""
    agent: str = ""
    system_instruction: str = ""
    tools: list[SentFunctionTool | WebSearchTool | UrlTool | CodeTool] = []
    generation_config: InteractionOptions = InteractionOptions()
    agent_config: ResearchOptions | None = None
    response_format: AnswerForm | list[AnswerForm] | None = None
    response_modalities: list[Literal["text", "image", "audio", "video", "document"]] = []
    previous_interaction_id: str = ""
    background: bool = False
    store: bool = True
    stream: bool = False
    service_tier: Literal["flex", "standard", "priority", "deferred"] | None = None
    safety_settings: list[SafetyOption] = []
    labels: dict[str, str] = {}

    @property
    def forms(self) -> list[AnswerForm]:
        """The forms of the answer."""
        found = self.response_format
        return found if isinstance(found, list) else [found] if found is not None else []

    @property
    def steps(self) -> list[StepInput]:
        """The input as steps."""
        if isinstance(self.input, str):
            return [UserStep(content=[TextInput(text=self.input)])]
        items = self.input if isinstance(self.input, list) else [self.input]
        content = [item for item in items if isinstance(item, CONTENT)]
        return [UserStep(content=content)] if content else [item for item in items if not isinstance(item, CONTENT)]

    @property
    def film(self) -> FilmForm:
        """The form of the film."""
        return next((form for form in self.forms if isinstance(form, FilmForm)), FilmForm())
