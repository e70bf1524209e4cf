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


class EmbedContentConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The options of an embedding, in Vertex AI's form."""

    task_type: str = ""
    title: str = ""
    output_dimensionality: int | None = None


class VertexEmbedContentRequest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A text whose embedding is wanted, in Vertex AI's form."""

    content: wire.Content
    embed_content_config: EmbedContentConfig = EmbedContentConfig()


class BatchEmbedContentsRequest(msgspec.Struct, frozen=True):
    """The body of `:batchEmbedContents`."""

    requests: Sequence[EmbedContentRequest | VertexEmbedContentRequest]


class ContentEmbedding(msgspec.Struct, frozen=True):
    """An embedding."""

    values: list[float]


class BatchEmbedContentsResponse(msgspec.Struct, frozen=True, rename="camel"):
    """The embeddings, in the order of the requests."""

    embeddings: tuple[ContentEmbedding, ...] = ()
    usage_metadata: wire.UsageMetadata = wire.UsageMetadata()


encode_batch = msgspec.json.Encoder().encode
decode_embeddings = msgspec.json.Decoder(BatchEmbedContentsResponse, strict=False).decode


def embed_request(model: str, content: wire.Content, options: EmbeddingOptions) -> EmbedContentRequest:
    """Return the request for a content, in the Developer API's form."""
    return EmbedContentRequest(
        model=f"models/{model}",
        content=content,
        task_type=options.task,
        title=options.title,
        output_dimensionality=options.dimensions,
    )


def batches_of(asked: Sequence[EmbedContentRequest | VertexEmbedContentRequest]) -> list[bytes]:
    """Return the bodies of the calls for these requests."""
    starts = range(0, len(asked), MOST_IN_A_BATCH)
    return [encode_batch(BatchEmbedContentsRequest(asked[at : at + MOST_IN_A_BATCH])) for at in starts]


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
