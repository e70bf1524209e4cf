"""OpenAI's chat completions as they are asked for, on the wire; names are OpenAI's."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Positive = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(pattern=r"^[^\s<|\\/>]+\Z", min_length=1, max_length=64)]
"""Who speaks; what could be taken for the form that a conversation is put into has no place in it."""
FunctionName = Annotated[str, Meta(pattern=r"^[\w.:/-]+\Z", max_length=128)]
CallId = Annotated[str, Meta(pattern=r"^[^\s<>]+\Z", max_length=256)]


class ContentText(msgspec.Struct, frozen=True, tag="text"):
    """A piece of text."""

    text: str


class ContentRefusal(msgspec.Struct, frozen=True, tag="refusal"):
    """What an assistant declined with."""

    refusal: str


class ImageUrl(msgspec.Struct, frozen=True):
    """Where an image is: a data URL, a link of this gateway's, or an http(s) URL."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ContentImage(msgspec.Struct, frozen=True, tag="image_url"):
    """An image."""

    image_url: ImageUrl


class InputAudio(msgspec.Struct, frozen=True):
    """Sound, in base64."""

    data: str
    format: Literal["wav", "mp3", "ogg", "flac", "m4a"]


class ContentAudio(msgspec.Struct, frozen=True, tag="input_audio"):
    """Audio."""

    input_audio: InputAudio


class InputFile(msgspec.Struct, frozen=True):
    """A file, in base64 or as a data URL."""

    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class ContentFile(msgspec.Struct, frozen=True, tag="file"):
    """A file."""

    file: InputFile


class ShownImage(msgspec.Struct, frozen=True):
    """An image of an earlier answer, as `images` had it."""

    image_url: ImageUrl


Part = ContentText | ContentRefusal | ContentImage | ContentAudio | ContentFile
Content = str | list[Part]


class Function(msgspec.Struct, frozen=True):
    """A call's function."""

    name: FunctionName
    arguments: str


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the assistant made."""

    id: CallId
    function: Function
    type: Literal["function"] = "function"


class SystemMessage(msgspec.Struct, frozen=True, tag="system", tag_field="role"):
    """The operator's instructions."""

    content: Content
    name: Name | None = None


class DeveloperMessage(msgspec.Struct, frozen=True, tag="developer", tag_field="role"):
    """The developer's instructions."""

    content: Content
    name: Name | None = None


class UserMessage(msgspec.Struct, frozen=True, tag="user", tag_field="role"):
    """What the user said."""

    content: Content
    name: Name | None = None


class AssistantMessage(msgspec.Struct, frozen=True, tag="assistant", tag_field="role"):
    """What the model said."""

    content: Content | None = None
    name: Name | None = None
    refusal: str | None = None
    images: list[ShownImage] | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None


class ToolMessage(msgspec.Struct, frozen=True, tag="tool", tag_field="role"):
    """What a tool answered."""

    content: Content
    tool_call_id: CallId


class FunctionMessage(msgspec.Struct, frozen=True, tag="function", tag_field="role"):
    """What a function answered, in the API's older form."""

    content: Content | None
    name: FunctionName


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage


class StreamOptions(msgspec.Struct, frozen=True):
    """How to stream."""

    include_usage: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """What form the answer shall have."""

    type: str


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /chat/completions`."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1, max_length=2000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None

    # refused by `read` where they ask for what is not done yet
    n: Positive | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: list[Any] | None = None
    function_call: str | dict[str, Any] | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, float] | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None

    # checked, and otherwise without a counterpart upstream
    temperature: Temperature | None = None
    top_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    seed: int | None = None
    user: str | None = None
    reasoning_effort: str | None = None


decode_request = msgspec.json.Decoder(ChatRequest).decode
