"""Wire structs of chat requests, with OpenAI's names."""

from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from protocol.http.lenient import LenientDecoder
from protocol.http.picture_parameters import PictureFields
from protocol.structured.tool_checks import MOST_TOOLS

MOST_CHOICES = 8
"""The highest `n`: each choice is a turn of its own at the upstream."""
Positive = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(pattern=r"^[^\s<|\\/>]+\Z", min_length=1, max_length=64)]
"""The name of an author; it has no characters that could be mistaken for the layout of a prompt."""
FunctionName = Annotated[str, Meta(pattern=r"^[\w.:/-]+\Z", max_length=128)]
CallId = Annotated[str, Meta(pattern=r"^[^\s<>]*\Z", max_length=256)]


class ContentText(msgspec.Struct, frozen=True, tag="text"):
    """A text part."""

    text: str


class ContentInputText(ContentText, frozen=True, tag="input_text"):
    """A text part, as the Responses API names it."""


class ContentOutputText(ContentText, frozen=True, tag="output_text"):
    """A text part of an answer, as the Responses API names it."""


class ContentThinking(msgspec.Struct, frozen=True, tag="thinking"):
    """Thoughts of an answer, as other vendors send them back; the model does not get them."""


class ContentRedactedThinking(msgspec.Struct, frozen=True, tag="redacted_thinking"):
    """Thoughts that a vendor has encrypted; the model does not get them."""


class ContentReasoning(msgspec.Struct, frozen=True, tag="reasoning"):
    """Thoughts of an answer; the model does not get them."""


class ContentReasoningText(msgspec.Struct, frozen=True, tag="reasoning_text"):
    """Thoughts of an answer, as the Responses API names them; the model does not get them."""


class ContentReasoningContent(msgspec.Struct, frozen=True, tag="reasoning_content"):
    """Thoughts of an answer, as LangChain names them; the model does not get them."""


class ContentThink(msgspec.Struct, frozen=True, tag="think"):
    """Thoughts of an answer, as LibreChat names them; the model does not get them."""


class ContentRefusal(msgspec.Struct, frozen=True, tag="refusal"):
    """A refusal of the assistant."""

    refusal: str


class ImageUrl(msgspec.Struct, frozen=True):
    """The URL of an image: a data URL, a link of this gateway, or an http(s) URL."""

    url: str


class ShownImage(msgspec.Struct, frozen=True):
    """An image of an earlier answer, from its `images`."""

    image_url: ImageUrl | str

    @property
    def url(self) -> str:
        """The URL of the image."""
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url

    @property
    def path(self) -> str:
        """The path of the URL."""
        return "image_url" if isinstance(self.image_url, str) else "image_url.url"


class ContentImage(ShownImage, frozen=True, tag="image_url"):
    """An image."""


class ContentInputImage(ShownImage, frozen=True, tag="input_image"):
    """An image, as the Responses API names it."""


class ContentVideo(msgspec.Struct, frozen=True, tag="video_url"):
    """A film, as other vendors have it."""

    video_url: ImageUrl | str

    @property
    def url(self) -> str:
        """The URL of the film."""
        return self.video_url if isinstance(self.video_url, str) else self.video_url.url


class InputAudio(msgspec.Struct, frozen=True):
    """Sound, in base64 or as a data URL; its format is detected."""

    data: str


class ContentAudio(msgspec.Struct, frozen=True, tag="input_audio"):
    """Audio."""

    input_audio: InputAudio


class InputFile(msgspec.Struct, frozen=True):
    """A file: in base64, as a data URL, or by the id of an uploaded one."""

    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class ContentFile(msgspec.Struct, frozen=True, tag="file"):
    """A file."""

    file: InputFile


class ContentInputFile(InputFile, frozen=True, tag="input_file"):
    """A file, as the Responses API has it."""


Thoughts = (
    ContentThinking
    | ContentRedactedThinking
    | ContentReasoning
    | ContentReasoningText
    | ContentReasoningContent
    | ContentThink
)
Files = ContentImage | ContentInputImage | ContentVideo | ContentAudio | ContentFile | ContentInputFile
Part = ContentText | Files | ContentInputText | ContentOutputText | ContentRefusal | Thoughts
Content = str | list[Part]


class Function(msgspec.Struct, frozen=True):
    """The function of a tool call."""

    name: FunctionName
    arguments: str | dict[str, Any] = ""
    """JSON, or the object itself."""

    @property
    def json_arguments(self) -> str:
        """The arguments as JSON."""
        return self.arguments if isinstance(self.arguments, str) else msgspec.json.encode(self.arguments).decode()


def thought_signature(extra_content: Any) -> str:
    """Return the thought signature in Google's extension of a call or a text; empty: there is none."""
    found = extra_content
    for name in ("google", "thought_signature"):
        found = cast("dict[str, Any]", found).get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


class ToolCall(msgspec.Struct, frozen=True):
    """A tool call of the assistant."""

    function: Function
    id: CallId = ""
    type: Literal["function"] = "function"
    extra_content: Any = None
    """Google's extension, with the thought signature of the call."""


class SystemMessage(msgspec.Struct, frozen=True, tag="system", tag_field="role"):
    """The operator's instructions."""

    content: Content | None = None
    name: Name | None = None


class DeveloperMessage(msgspec.Struct, frozen=True, tag="developer", tag_field="role"):
    """The developer's instructions."""

    content: Content | None = None
    name: Name | None = None


class UserMessage(msgspec.Struct, frozen=True, tag="user", tag_field="role"):
    """A message of the user."""

    content: Content | None = None
    name: Name | None = None


class AssistantMessage(msgspec.Struct, frozen=True, tag="assistant", tag_field="role"):
    """A message of the model."""

    content: Content | None = None
    name: Name | None = None
    refusal: str | None = None
    images: list[ShownImage] | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    extra_content: Any = None
    """Google's extension, with the signature of the text."""


class ToolMessage(msgspec.Struct, frozen=True, tag="tool", tag_field="role"):
    """The result of a tool."""

    content: Content | None = None
    tool_call_id: CallId = ""


class FunctionMessage(msgspec.Struct, frozen=True, tag="function", tag_field="role"):
    """The result of a function, in the older form of the API."""

    name: FunctionName
    content: Content | None = None


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage


class StreamOptions(msgspec.Struct, frozen=True):
    """Options of a stream."""

    include_usage: bool | None = None


class FunctionTool(msgspec.Struct, frozen=True):
    """The function of a tool."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | bool | None = None
    strict: bool | None = None


class OfferedTool(msgspec.Struct, frozen=True):
    """A tool that the model may call; only functions are supported.

    Some clients leave `function` out and write its members in its place, as in the Responses API.
    """

    type: str = "function"
    function: FunctionTool | None = None
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | bool | None = None

    @property
    def offered(self) -> FunctionTool | None:
        """The function."""
        if self.function is not None or not self.name:
            return self.function
        return FunctionTool(name=self.name, description=self.description, parameters=self.parameters)


class NamedFunction(msgspec.Struct, frozen=True):
    """The name of a function."""

    name: str


class AllowedTools(msgspec.Struct, frozen=True):
    """A choice among the offered tools."""

    mode: Literal["auto", "required"] = "auto"
    tools: list[dict[str, Any]] = []


class NamedChoice(msgspec.Struct, frozen=True):
    """A choice of one tool, or of a few; also a mode as an object."""

    type: str = ""
    function: NamedFunction | None = None
    name: str = ""
    """The name of the tool, as in the Responses API."""
    allowed_tools: AllowedTools | None = None


class JsonSchemaFormat(msgspec.Struct, frozen=True):
    """The JSON Schema of the answer."""

    name: str = ""
    description: str | None = None
    schema: dict[str, Any] | bool | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """The format of the answer."""

    type: str = ""
    json_schema: JsonSchemaFormat | None = None


class ChatRequest(PictureFields, frozen=True, kw_only=True):
    """The body of `POST /chat/completions`, without fields that are ignored and would not change the answer."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1, max_length=2000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Annotated[list[OfferedTool], Meta(max_length=MOST_TOOLS)] | None = None
    tool_choice: str | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[FunctionTool], Meta(max_length=MOST_TOOLS)] | None = None
    """The older form of `tools`."""
    function_call: str | NamedFunction | None = None
    """The older form of `tool_choice`."""
    response_format: ResponseFormat | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None

    n: Annotated[int, Meta(ge=1, le=MOST_CHOICES)] | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    """Chooses how long the model thinks, as far as its upstream can; see `read.select`."""
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None

    # these have no effect at the site, which has no such options; see `read.IGNORED`, `read.read_options`
    frequency_penalty: Any = None
    logit_bias: Any = None
    logprobs: Any = None
    min_p: Any = None
    moderation: Any = None
    presence_penalty: Any = None
    repetition_penalty: Any = None
    seed: Any = None
    temperature: Any = None
    top_k: Any = None
    top_logprobs: Any = None
    top_p: Any = None
    verbosity: Any = None
    web_search_options: Any = None


decode_request = LenientDecoder(ChatRequest).decode
