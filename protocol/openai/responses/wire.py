"""Wire structs of requests to the Responses API, with OpenAI's names.

Items and parts have one struct each: a client may leave out the `type` of a message, and sends items back with fields
of its own. `read` checks the fields that a type needs.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from protocol.http.lenient import LenientDecoder
from protocol.http.picture_parameters import PictureFields
from protocol.openai.chat.wire import CallId, FunctionName, ImageUrl, InputAudio, Positive
from protocol.structured.tool_checks import MOST_TOOLS

MOST_ITEMS = 5000
"""The most items of one conversation."""

Identity = Annotated[str, Meta(max_length=256)]


class InputPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a message or of a tool's output."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | ImageUrl | None = None
    detail: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    file_id: str | None = None
    input_audio: InputAudio | None = None


InputContent = str | list[InputPart]


class InputItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message, a tool call, its output, or a reference to an item that is stored."""

    type: str = "message"
    id: Identity | None = None
    role: str | None = None
    content: InputContent | None = None
    call_id: CallId | None = None
    name: FunctionName | None = None
    namespace: str | None = None
    arguments: str | dict[str, Any] | None = None
    """JSON, or the object itself."""
    input: str | None = None
    """What a custom tool was called with, as free text."""
    output: InputContent | None = None
    summary: Any = None
    """Thoughts, which are only shown again."""
    result: str | None = None
    """A picture in base64."""
    url: str | None = None
    """An extension: the link to that picture."""

    @property
    def json_arguments(self) -> str:
        """The arguments as JSON."""
        given = {"input": self.input or ""} if self.type == "custom_tool_call" else self.arguments or "{}"
        return given if isinstance(given, str) else msgspec.json.encode(given).decode()

    @property
    def is_reference(self) -> bool:
        """Whether it is the id of a stored item alone; the type of a reference may be missing."""
        bare = self.type == "message" and self.id is not None and self.role is None and self.content is None
        return bare or self.type == "item_reference"


class NamespacedTool(PictureFields, frozen=True, kw_only=True, omit_defaults=True):
    """A tool that may be in a namespace; here, only functions may."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | bool | None = None
    strict: bool | None = None


class ResponseTool(NamespacedTool, frozen=True, kw_only=True, omit_defaults=True):
    """A tool that the model may use: a function, a namespace of functions, or one that OpenAI runs itself."""

    tools: Annotated[list[NamespacedTool], Meta(max_length=MOST_TOOLS)] | None = None
    """The functions of a namespace."""

    # these have no effect
    filters: Any = None
    search_context_size: Any = None
    user_location: Any = None
    action: Any = None
    input_fidelity: Any = None
    input_image_mask: Any = None
    moderation: Any = None
    partial_images: Any = None
    quality: Any = None


class ResponseToolChoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A choice of one tool, or of a few."""

    type: str
    name: str | None = None
    namespace: str | None = None
    mode: str | None = None
    tools: list[dict[str, Any]] | None = None


class TextFormat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The format of the text."""

    type: str
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | bool | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Options of the text."""

    format: TextFormat | None = None
    verbosity: Any = None
    """It has no effect."""


class ReasoningOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the thoughts."""

    effort: str | None = None
    summary: str | None = None


class ResponseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /responses`, without fields that are ignored."""

    model: str
    input: str | Annotated[list[InputItem], Meta(max_length=MOST_ITEMS)] | None = None
    instructions: str | None = None
    previous_response_id: Identity | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    tools: Annotated[list[ResponseTool], Meta(max_length=MOST_TOOLS)] | None = None
    tool_choice: str | ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    max_output_tokens: Positive | None = None
    metadata: Annotated[dict[str, str], Meta(max_length=16)] | None = None
    truncation: str | None = None

    # these have no effect
    temperature: Any = None
    top_p: Any = None
    top_logprobs: Any = None
    max_tool_calls: Any = None
    moderation: Any = None
    context_management: Any = None
    include: list[Any] | None = None

    # `read` refuses these
    conversation: Any = None
    prompt: Any = None


decode_request = LenientDecoder(ResponseRequest).decode
