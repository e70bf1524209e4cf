"""Structs of the official API's `batchEmbedContents`, in Google's names.

Source: "Files, caching, embeddings, speech".
"""

import sys
from array import array
from collections.abc import Sequence

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


def batches_of(model: str, contents: Sequence[wire.Content], options: Sequence[EmbeddingOptions]) -> list[bytes]:
    """Return the bodies of the calls for these contents."""
    asked = [
        EmbedContentRequest(
            model=f"models/{model}",
            content=content,
            task_type=one.task,
            title=one.title,
            output_dimensionality=one.dimensions,
        )
        for content, one in zip(contents, options, strict=True)
    ]
    starts = range(0, len(asked), MOST_IN_A_BATCH)
    return [encode_batch(BatchEmbedContentsRequest(tuple(asked[at : at + MOST_IN_A_BATCH]))) for at in starts]


def packed(values: list[float]) -> bytes:
    """Return a vector as `protocol.model.Vector` has it."""
    numbers = array("f", values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def read_vectors(data: bytes) -> tuple[list[bytes], int]:
    """Return the vectors of an answer, and the tokens of the texts; 0: the answer does not count them.

    Raises:
        msgspec.MsgspecError: the answer has another form.

    """
    answer = decode_embeddings(data)
    return [packed(one.values) for one in answer.embeddings], answer.usage_metadata.prompt_token_count
