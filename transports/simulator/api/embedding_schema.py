"""Structs of requests for embeddings to the simulated API, and to Vertex AI.

Source: "Files, caching, embeddings, speech".
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from transports.simulator.api.request_schema import SentMessage, Strict

TaskType = Literal[
    "TASK_TYPE_UNSPECIFIED",
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
]


class EmbedRequest(Strict, frozen=True):
    """The body of `:embedContent`, and a request of `:batchEmbedContents`."""

    content: SentMessage
    model: str = ""
    task_type: TaskType = "TASK_TYPE_UNSPECIFIED"
    title: str = ""
    output_dimensionality: Annotated[int, Meta(ge=1, le=3072)] | None = None


class VertexEmbedOptions(Strict, frozen=True):
    """The options of an embedding, as Vertex AI takes them."""

    task_type: TaskType = "TASK_TYPE_UNSPECIFIED"
    title: str = ""
    output_dimensionality: Annotated[int, Meta(ge=1, le=3072)] | None = None
    auto_truncate: bool = True
    document_ocr: bool = False
    audio_track_extraction: bool = False


class VertexEmbedRequest(Strict, frozen=True):
    """The body of Vertex AI's `:embedContent`, and a request of its `:batchEmbedContents`."""

    content: SentMessage
    embed_content_config: VertexEmbedOptions = VertexEmbedOptions()


class VertexEmbedBatch(Strict, frozen=True):
    """The body of Vertex AI's `:batchEmbedContents`."""

    requests: Sequence[VertexEmbedRequest] = ()


class EmbedBatch(Strict, frozen=True):
    """The body of `:batchEmbedContents`."""

    requests: Sequence[EmbedRequest] = ()
