"""Structs of the official API's `batchEmbedContents`, in Google's names.

Source: "Files, caching, embeddings, speech".
"""

import math
import struct
from collections.abc import Iterable

import msgspec

from protocol.model import EmbeddingOptions
from transports.generate_content import wire

MOST_IN_A_BATCH = 100


class EmbedContentRequest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A text whose embedding is wanted."""

    model: str
    """With `models/` before it."""
    content: wire.Content
    task_type: str = ""
    title: str = ""
    output_dimensionality: int | None = None


class BatchEmbedContentsRequest(msgspec.Struct, frozen=True):
    """The body of `:batchEmbedContents`."""

    requests: tuple[EmbedContentRequest, ...]


class ContentEmbedding(msgspec.Struct, frozen=True):
    """An embedding."""

    values: list[float]


class BatchEmbedContentsResponse(msgspec.Struct, frozen=True, rename="camel"):
    """The embeddings, in the order of the requests."""

    embeddings: tuple[ContentEmbedding, ...] = ()
    usage_metadata: wire.UsageMetadata = wire.UsageMetadata()


encode_batch = msgspec.json.Encoder().encode
decode_embeddings = msgspec.json.Decoder(BatchEmbedContentsResponse, strict=False).decode


def batches_of(model: str, contents: Iterable[wire.Content], options: EmbeddingOptions) -> list[bytes]:
    """Return the bodies of the calls for these contents."""
    asked = [
        EmbedContentRequest(
            model=f"models/{model}",
            content=content,
            task_type=options.task,
            title=options.title,
            output_dimensionality=options.dimensions,
        )
        for content in contents
    ]
    starts = range(0, len(asked), MOST_IN_A_BATCH)
    return [encode_batch(BatchEmbedContentsRequest(tuple(asked[at : at + MOST_IN_A_BATCH]))) for at in starts]


def packed(values: list[float]) -> bytes:
    """Return a vector as `protocol.model.Vector` has it: the API does not bring shortened ones to the length 1."""
    length = math.hypot(*values) or 1.0
    return struct.pack(f"<{len(values)}f", *(value / length for value in values))
