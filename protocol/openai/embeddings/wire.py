"""Wire structs of the embeddings API, with OpenAI's names."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.http.lenient import LenientDecoder
from protocol.openai.chat.wire import Positive

MOST_INPUTS = 2048


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /embeddings`, without fields that are ignored."""

    model: str
    input: str | Annotated[list[str | int | list[int]], Meta(max_length=MOST_INPUTS)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Positive | None = None


decode_embedding = LenientDecoder(EmbeddingRequest).decode


class EmbeddingObject(msgspec.Struct, frozen=True, kw_only=True):
    """The embedding of one text."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: tuple[float, ...] | str
    """The numbers, or in base64 the same as float32 in little-endian order."""


class EmbeddingUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of the texts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingListEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The fields after those of the embeddings: `object` and `data`."""

    model: str
    usage: EmbeddingUsage
