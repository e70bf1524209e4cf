"""Computes embeddings by calls of `batchEmbedContents`.

All calls are made before the first event, so that another account can take over when one of them fails.

Source: "Files, caching, embeddings, speech".
"""

from collections.abc import AsyncIterator

import msgspec

from protocol.model import (
    DriftDetected,
    EmbeddingOptions,
    Event,
    Exchange,
    Finish,
    GenerationRequest,
    Served,
    UpstreamModel,
    Usage,
    Vector,
    prompt_tokens,
)
from transports.generate_content import wire
from transports.generate_content.accounts import ModelAccount
from transports.generate_content.embedding_wire import batches_of, decode_embeddings, packed


async def open_embeddings(
    account: ModelAccount, model: UpstreamModel, request: GenerationRequest, transport: str
) -> Exchange:
    """Compute the embeddings of the turns of a request; as `transports.base.Transport.open`."""
    options = request.embedding or EmbeddingOptions()
    contents = [wire.Content((wire.ContentPart(text=turn.text),), "user") for turn in request.turns]
    vectors: list[Event] = []
    tokens = 0
    for body in batches_of(model.id, contents, options):
        async with account.api.post(f"models/{model.id}:batchEmbedContents", body) as response:
            data = await account.api.whole(response)
        try:
            answer = decode_embeddings(data)
        except msgspec.MsgspecError:
            raise DriftDetected("The upstream's answer has an unknown form.") from None
        vectors += [Vector(packed(one.values)) for one in answer.embeddings]
        tokens += answer.usage_metadata.prompt_token_count
    if len(vectors) != len(contents):
        raise DriftDetected("The upstream's answer has another number of embeddings than the request has texts.")
    usage = Usage(input_tokens=tokens or prompt_tokens(request), output_tokens=0)
    served = Served(transport=transport, account=account.account.id, requested=model, answered=model)

    async def events() -> AsyncIterator[Event]:
        for vector in vectors:
            yield vector
        yield Finish("stop", usage)

    return Exchange(lambda: served, events())
