"""Wire structs of text completions, OpenAI's older API, with OpenAI's names."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from protocol.http.lenient import LenientDecoder
from protocol.openai.chat.response_wire import Usage
from protocol.openai.chat.wire import Positive, StreamOptions


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /completions`, without fields that are ignored."""

    model: str
    prompt: str | list[str | int | list[int]] | None = None
    suffix: str | None = None
    echo: bool | None = None
    n: Positive | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None

    # these have no effect
    best_of: Positive | None = None
    logprobs: int | bool | None = None
    logit_bias: dict[str, float] | None = None
    temperature: Any = None
    top_p: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    seed: Any = None


decode_completion = LenientDecoder(CompletionRequest).decode


class CompletionChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A text, or the next part of one in a stream."""

    text: str
    index: int
    logprobs: None = None
    finish_reason: str | None = None
    """Null until the text is complete."""


class TextCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, or one event of a streamed one."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | msgspec.UnsetType = msgspec.UNSET
