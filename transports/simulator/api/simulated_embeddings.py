"""Reads requests for embeddings, and computes them: texts with the same words have similar vectors. No I/O.

A vector has the length 1, in numbers of 32 bits. A shortened one is its beginning, so it is shorter, as it is at the
API.

Source: "Files, caching, embeddings, speech".
"""

import math
import re
from array import array
from collections.abc import Sequence
from hashlib import shake_128

from transports.simulator.api.embedding_schema import EmbedBatch, EmbedRequest, VertexEmbedBatch, VertexEmbedRequest
from transports.simulator.api.request_reader import decode
from transports.simulator.api.request_schema import SentMessage
from transports.simulator.api.rpc_errors import invalid
from transports.simulator.api.simulated_model import texts

_DIMENSIONS = 3072
_MOST_REQUESTS = 100
_WORD = re.compile(r"\w+")


def read_embeds(body: bytes, model: str, verb: str) -> Sequence[EmbedRequest]:
    """Return the checked requests of a body of `embedContent` or `batchEmbedContents`.

    Raises:
        ApiRefusal: one is wrong.

    """
    single = verb == "embedContent"
    sent = [decode(body, EmbedRequest)] if single else decode(body, EmbedBatch).requests
    check_embeds(sent, model, single=single)
    return sent


def read_vertex_embeds(body: bytes, model: str, verb: str) -> Sequence[EmbedRequest]:
    """Return the checked requests of a body in Vertex AI's form; raises as `read_embeds`."""
    single = verb == "embedContent"
    asked = [decode(body, VertexEmbedRequest)] if single else decode(body, VertexEmbedBatch).requests
    sent = [
        EmbedRequest(
            content=one.content,
            model=f"models/{model}",
            task_type=one.embed_content_config.task_type,
            title=one.embed_content_config.title,
            output_dimensionality=one.embed_content_config.output_dimensionality,
        )
        for one in asked
    ]
    check_embeds(sent, model, single=single)
    return sent


def check_embeds(sent: Sequence[EmbedRequest], model: str, *, single: bool) -> None:
    """Check requests for embeddings; raise ApiRefusal if one is wrong."""
    if not sent:
        raise invalid("* BatchEmbedContentsRequest.requests: requests is not specified")
    if len(sent) > _MOST_REQUESTS:
        raise invalid(f"* BatchEmbedContentsRequest.requests: at most {_MOST_REQUESTS} requests can be in one batch")
    for number, one in enumerate(sent):
        at = "EmbedContentRequest" if single else f"BatchEmbedContentsRequest.requests[{number}]"
        if one.model != f"models/{model}" and (one.model or not single):
            raise invalid(f"* {at}.model: the model does not match that of the URL: models/{model}")
        if one.title and one.task_type != "RETRIEVAL_DOCUMENT":
            raise invalid(f"* {at}.title: title needs the task type RETRIEVAL_DOCUMENT")
        check_content(one.content, at)


def check_content(content: SentMessage, at: str) -> None:
    """Check that a content has parts that can be embedded."""
    if not content.parts:
        raise invalid(f"* {at}.content: contents is not specified")
    if any(not part.text and part.inline_data is None and part.file_data is None for part in content.parts):
        raise invalid(f"* {at}.content: content contains an empty Part.")


def vector_of(request: EmbedRequest) -> list[float]:
    """Return the embedding of the words and files of a request."""
    content = request.content
    words: list[bytes] = [word.encode() for word in _WORD.findall(texts(content).lower())]
    words += [part.inline_data.data for part in content.parts if part.inline_data is not None]
    sums = [0] * _DIMENSIONS
    for word in words or [texts(content).encode()]:
        sums = [total + 2 * byte - 255 for total, byte in zip(sums, shake_128(word).digest(_DIMENSIONS), strict=True)]
    length = math.hypot(*sums)
    return list(array("f", (total / length for total in sums[: request.output_dimensionality])))
