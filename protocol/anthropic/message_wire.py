"""Wire structs of answers and of the events of a stream, with Anthropic's names."""

from typing import Any, Literal

import msgspec

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]


class ThinkingDetails(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the output that is thoughts."""

    thinking_tokens: int


class MessageUsage(msgspec.Struct, frozen=True, kw_only=True):
    """The token counts of an answer."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens_details: ThinkingDetails


class WebCitation(msgspec.Struct, frozen=True, kw_only=True, tag="web_search_result_location"):
    """A source of a part of the text."""

    cited_text: str
    title: str
    url: str
    encrypted_index: str = ""


class SaidText(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """A text of the answer."""

    text: str = ""
    citations: list[WebCitation] | msgspec.UnsetType = msgspec.UNSET
    """Left out if there are none: the AI SDK takes no null."""


class SaidThinking(msgspec.Struct, frozen=True, kw_only=True, tag="thinking"):
    """Thoughts of the answer."""

    thinking: str = ""
    signature: str = ""


class SaidToolUse(msgspec.Struct, frozen=True, kw_only=True, tag="tool_use"):
    """A tool call of the answer."""

    id: str
    name: str
    input: dict[str, Any]


class SaidServerToolUse(msgspec.Struct, frozen=True, kw_only=True, tag="server_tool_use"):
    """A search of the website."""

    id: str
    name: Literal["web_search"] = "web_search"
    input: dict[str, Any]


class WebSearchResult(msgspec.Struct, frozen=True, kw_only=True, tag="web_search_result"):
    """A page that the website found."""

    title: str
    url: str
    encrypted_content: str = ""
    page_age: str | None = None


class SaidSearchResults(msgspec.Struct, frozen=True, kw_only=True, tag="web_search_tool_result"):
    """The pages that the website found."""

    tool_use_id: str
    content: list[WebSearchResult]


SaidBlock = SaidText | SaidThinking | SaidToolUse | SaidServerToolUse | SaidSearchResults


class StopDetails(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    """Why the model refuses to answer."""

    category: None = None
    explanation: str | None = None


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Why the answer ended."""

    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None


class MessageObject(Stop, frozen=True, kw_only=True, tag="message"):
    """An answer."""

    id: str
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[SaidBlock] = []
    usage: MessageUsage


class MessageStart(msgspec.Struct, frozen=True, kw_only=True, tag="message_start"):
    """A stream begins."""

    message: MessageObject


class BlockStart(msgspec.Struct, frozen=True, kw_only=True, tag="content_block_start"):
    """A block begins."""

    index: int
    content_block: SaidBlock


class BlockText(msgspec.Struct, frozen=True, kw_only=True, tag="text_delta"):
    """The next part of a text."""

    text: str


class BlockThinking(msgspec.Struct, frozen=True, kw_only=True, tag="thinking_delta"):
    """The next part of the thoughts."""

    thinking: str


class BlockSignature(msgspec.Struct, frozen=True, kw_only=True, tag="signature_delta"):
    """The signature at the end of thoughts."""

    signature: str


class BlockInput(msgspec.Struct, frozen=True, kw_only=True, tag="input_json_delta"):
    """The next part of the arguments of a call."""

    partial_json: str


class BlockCitation(msgspec.Struct, frozen=True, kw_only=True, tag="citations_delta"):
    """A source of the text so far."""

    citation: WebCitation


BlockPart = BlockCitation | BlockText | BlockThinking | BlockSignature | BlockInput


class BlockDelta(msgspec.Struct, frozen=True, kw_only=True, tag="content_block_delta"):
    """The next part of a block."""

    index: int
    delta: BlockPart


class BlockStop(msgspec.Struct, frozen=True, kw_only=True, tag="content_block_stop"):
    """A block ends."""

    index: int


class MessageDelta(msgspec.Struct, frozen=True, kw_only=True, tag="message_delta"):
    """The answer is complete."""

    delta: Stop
    usage: MessageUsage


class MessageStop(msgspec.Struct, frozen=True, kw_only=True, tag="message_stop"):
    """A stream ends."""


StreamedEvent = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop
