"""Wire structs of requests, with Anthropic's names."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from protocol.anthropic.unsent_blocks import ToolReferenceBlock, UnsentBlock
from protocol.http.lenient import LenientDecoder
from protocol.structured.tool_checks import MOST_TOOLS

Id = Annotated[str, Meta(pattern=r"^[^\s<>]*\Z", max_length=256)]


class TextBlock(msgspec.Struct, frozen=True, tag="text"):
    """A text."""

    text: str


class Base64Source(msgspec.Struct, frozen=True, tag="base64"):
    """A file in base64; its type is detected."""

    data: str


class UrlSource(msgspec.Struct, frozen=True, tag="url"):
    """A file at an address: http(s), a data URL, or a link of this gateway."""

    url: str


class StoredSource(msgspec.Struct, frozen=True, tag="file"):
    """A file that was uploaded earlier."""

    file_id: str = ""


class TextSource(msgspec.Struct, frozen=True, tag="text"):
    """A document as plain text."""

    data: str


FileSource = Base64Source | UrlSource | StoredSource


class ImageBlock(msgspec.Struct, frozen=True, tag="image"):
    """An image."""

    source: FileSource


class ContentSource(msgspec.Struct, frozen=True, tag="content"):
    """A document as texts and images."""

    content: str | list[TextBlock | ImageBlock]


class DocumentBlock(msgspec.Struct, frozen=True, tag="document"):
    """A document, with a title and words about it."""

    source: FileSource | TextSource | ContentSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(msgspec.Struct, frozen=True, tag="search_result"):
    """A result of the client's own search."""

    source: str
    title: str
    content: list[TextBlock] = []


class ToolUseBlock(msgspec.Struct, frozen=True, tag="tool_use"):
    """A tool call of the model."""

    id: Id
    name: str
    input: dict[str, Any] = {}


ResultContent = str | list[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock]


class ToolResultBlock(msgspec.Struct, frozen=True, tag="tool_result"):
    """The result of a tool call."""

    tool_use_id: Id
    content: ResultContent | None = None
    is_error: bool | None = None


class CompactionBlock(msgspec.Struct, frozen=True, tag="compaction"):
    """A summary of the conversation before it; null if it failed."""

    content: str | None = None


Block = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ToolUseBlock
    | ToolResultBlock
    | CompactionBlock
    | UnsentBlock
)
Blocks = str | list[Block]


class UserInput(msgspec.Struct, frozen=True, tag="user", tag_field="role"):
    """A message of the user, with the results of tools."""

    content: Blocks


class AssistantInput(msgspec.Struct, frozen=True, tag="assistant", tag_field="role"):
    """An answer of the model."""

    content: Blocks


class SystemInput(msgspec.Struct, frozen=True, tag="system", tag_field="role"):
    """Instructions of the operator within the conversation."""

    content: str | list[TextBlock]


class ToolDefinition(msgspec.Struct, frozen=True):
    """A tool that the model may call, or one of Anthropic's own."""

    name: str = ""
    type: str = "custom"
    description: str | None = None
    input_schema: dict[str, Any] | bool | None = None


class ToolChoiceField(msgspec.Struct, frozen=True):
    """How the model may use the tools."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingField(msgspec.Struct, frozen=True):
    """Whether the answer shows thoughts, and how long they may be."""

    type: str
    budget_tokens: Any = None
    display: str | None = None


class OutputFormat(msgspec.Struct, frozen=True):
    """The form of the answer."""

    type: str
    schema: dict[str, Any] | bool | None = None


class OutputConfig(msgspec.Struct, frozen=True):
    """Options of the answer."""

    format: OutputFormat | None = None
    effort: str | None = None


class CountTokens(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /messages/count_tokens`."""

    model: str
    messages: Annotated[list[UserInput | AssistantInput | SystemInput], Meta(min_length=1, max_length=4000)]
    system: str | list[TextBlock] | None = None
    tools: Annotated[list[ToolDefinition], Meta(max_length=MOST_TOOLS)] | None = None
    tool_choice: ToolChoiceField | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    """The older form of `output_config.format`."""


class CreateMessage(CountTokens, frozen=True, kw_only=True):
    """The body of `POST /messages`, without fields that change no answer."""

    max_tokens: Annotated[int, Meta(ge=0)]
    """0 shows no text: clients send it to prepare a conversation for the next request."""
    stream: bool | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=64)] | None = None
    thinking: ThinkingField | None = None
    thread: dict[str, Any] | None = None
    """A conversation that the server keeps, which is not supported."""

    # these have no effect; `read.IGNORED` reports them
    temperature: Any = None
    top_k: Any = None
    top_p: Any = None
    container: Any = None
    mcp_servers: Any = None


decode_create = LenientDecoder(CreateMessage).decode
decode_count = LenientDecoder(CountTokens).decode
