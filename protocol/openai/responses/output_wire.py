"""Wire structs of answers of the Responses API, whole and as events, with OpenAI's names."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from protocol.model import BadRequest, GatewayError, RateLimited, Refused, Throttled, Usage

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class CitedUrl(msgspec.Struct, frozen=True, kw_only=True, tag="url_citation"):
    """A source, with the range of the text that cites it."""

    start_index: int
    end_index: int
    url: str
    title: str


class OutputText(msgspec.Struct, frozen=True, kw_only=True, tag="output_text"):
    """The text of a message."""

    text: str
    annotations: list[CitedUrl] = []
    logprobs: list[Any] = []


class OutputRefusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    """The words with which the model declines."""

    refusal: str


class SummaryText(msgspec.Struct, frozen=True, kw_only=True, tag="summary_text"):
    """Thoughts of the model."""

    text: str


class OutputMessage(msgspec.Struct, frozen=True, kw_only=True, tag="message"):
    """A message of the model."""

    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputText | OutputRefusal] = []


class OutputReasoning(msgspec.Struct, frozen=True, kw_only=True, tag="reasoning"):
    """The thoughts of the model."""

    id: str
    status: ItemStatus
    summary: list[SummaryText] = []


class OutputCall(msgspec.Struct, frozen=True, kw_only=True, tag="function_call"):
    """A call of a function."""

    id: str
    status: ItemStatus
    call_id: str
    namespace: str | UnsetType = UNSET
    name: str
    arguments: str


class OutputPicture(msgspec.Struct, frozen=True, kw_only=True, tag="image_generation_call"):
    """A picture that the model drew."""

    id: str
    status: Literal["in_progress", "generating", "completed", "failed"]
    result: str | None = None
    """The picture in base64."""
    revised_prompt: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    """An extension: a link to the picture. Sent back, it tells the site which of its pictures is meant."""


OutputItem = OutputMessage | OutputReasoning | OutputCall | OutputPicture


class InputTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Input tokens by kind."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Output tokens by kind."""

    reasoning_tokens: int


class ResponseUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts."""

    input_tokens: int
    input_tokens_details: InputTokens = InputTokens()
    output_tokens: int
    output_tokens_details: OutputTokens
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> "ResponseUsage":
        """Return token counts in OpenAI's form."""
        return cls(
            input_tokens=usage.input_tokens,
            input_tokens_details=InputTokens(cached_tokens=usage.cached_tokens),
            output_tokens=usage.output_tokens,
            output_tokens_details=OutputTokens(reasoning_tokens=usage.reasoning_tokens),
            total_tokens=usage.input_tokens + usage.output_tokens,
        )


class ResponseFault(msgspec.Struct, frozen=True, kw_only=True):
    """Why a response failed."""

    code: str
    """One of the fixed set that the API has."""
    message: str

    @classmethod
    def of(cls, error: GatewayError) -> "ResponseFault":
        """Return an error in OpenAI's form."""
        if isinstance(error, RateLimited) or error.code in {RateLimited.code, Throttled.code}:  # or that of a job
            code = "rate_limit_exceeded"
        elif isinstance(error, BadRequest | Refused) or error.code == Refused.code:
            code = "invalid_prompt"
        else:
            code = "server_error"
        return cls(code=code, message=error.message)


class IncompleteDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Why a response ends early."""

    reason: Literal["max_output_tokens", "content_filter"]


class ModelResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response, finished or not."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status
    background: bool
    error: ResponseFault | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem] = []
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: dict[str, str | None]
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_p: float
    truncation: str
    usage: ResponseUsage | UnsetType = UNSET


class StreamEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An event of a stream; its `type` says which fields it has."""

    type: str
    sequence_number: int = msgspec.field(default_factory=int)
    response: ModelResponse | UnsetType = UNSET
    output_index: int | UnsetType = UNSET
    item_id: str | UnsetType = UNSET
    item: OutputItem | UnsetType = UNSET
    content_index: int | UnsetType = UNSET
    summary_index: int | UnsetType = UNSET
    annotation_index: int | UnsetType = UNSET
    annotation: CitedUrl | UnsetType = UNSET
    part: OutputText | OutputRefusal | SummaryText | UnsetType = UNSET
    delta: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    refusal: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    logprobs: list[Any] | UnsetType = UNSET


class DeletedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response that was deleted."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class InputItems(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the input of a response."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool
