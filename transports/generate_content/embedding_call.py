"""Computes embeddings by calls of `batchEmbedContents`.

All calls are made before the first event, so that another account can take over when one of them fails. A vector is
kept as its bytes: as a list it would take eight times the memory.

Source: "Files, caching, embeddings, speech".
"""

from collections.abc import AsyncIterator, Mapping, Sequence

import anyio.lowlevel
import anyio.to_thread
import msgspec

from protocol.model import (
    DriftDetected,
    EmbeddingOptions,
    Event,
    Exchange,
    Finish,
    GenerationRequest,
    Served,
    TextPart,
    Turn,
    UpstreamModel,
    Usage,
    Vector,
    prompt_tokens,
)
from transports.generate_content import wire
from transports.generate_content.accounts import ModelAccount
from transports.generate_content.embedding_wire import batches_of, embed_request, read_vectors
from transports.generate_content.request_files import RequestFiles


async def open_embeddings(
    account: ModelAccount, model: UpstreamModel, request: GenerationRequest, transport: str, files: RequestFiles
) -> Exchange:
    """Compute the embeddings of the turns of a request; as `transports.base.Transport.open`."""
    options = request.embeddings or (EmbeddingOptions(),) * len(request.turns)
    vectors: list[bytes] = []
    tokens = 0
    async with files.taken(request, account.uploader) as taken:
        contents = [content_to_embed(turn, taken) for turn in request.turns]
        asked = [account.embedding(embed_request(model.id, *one)) for one in zip(contents, options, strict=True)]
        for body in await anyio.to_thread.run_sync(batches_of, asked):
            async with account.api.post(f"models/{model.id}:batchEmbedContents", body) as response:
                data = await account.api.whole(response)
            try:
                found, counted = await anyio.to_thread.run_sync(read_vectors, data)
            except msgspec.MsgspecError:
                raise DriftDetected("The upstream's answer has an unknown form.") from None
            vectors += found
            tokens += counted
    if len(vectors) != len(contents):
        raise DriftDetected("The upstream's answer has another number of embeddings than the request has texts.")
    usage = Usage(input_tokens=tokens or prompt_tokens(request), output_tokens=0, exact=tokens > 0)
    served = Served(
        transport=transport, account=account.account.id, requested=model, answered=model, counts=usage.exact
    )
    return Exchange(lambda: served, vector_events(vectors, usage))


def content_to_embed(turn: Turn, files: Mapping[int, wire.ContentPart]) -> wire.Content:
    """Return the texts and files of a turn as one content."""
    parts = (wire.ContentPart(text=one.text) if isinstance(one, TextPart) else files[id(one)] for one in turn.parts)
    return wire.Content(tuple(parts), "user")


async def vector_events(vectors: Sequence[bytes], usage: Usage) -> AsyncIterator[Event]:
    """Yield vectors, and let other requests run between them: each is encoded on its way to the client."""
    for vector in vectors:
        yield Vector(vector)
        await anyio.lowlevel.checkpoint()
    yield Finish("stop", usage)
