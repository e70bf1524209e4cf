"""The endpoint `POST /embeddings`."""

import binascii
from functools import partial

from starlette.requests import Request

from protocol.http.always_streamed import PiecewiseWriter, unframed
from protocol.http.body import encode_json, read_json
from protocol.http.context import RequestContext, caller_of
from protocol.http.operation import Answer, Operation
from protocol.http.own_models import check_offered
from protocol.http.vectors import at_length_one, numbers_of
from protocol.model import (
    BadRequest,
    Caller,
    Capability,
    Catalogue,
    EmbeddingOptions,
    Engine,
    Event,
    Finish,
    GenerationRequest,
    Reply,
    Role,
    Selection,
    TextPart,
    Turn,
    Unsupported,
    Vector,
    fold,
)
from protocol.openai.embeddings import wire

_PATH = "/embeddings"
_FRAMING = unframed(b"application/json")
_USUAL_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-ada-002": 1536}
"""The length of vectors that clients expect of OpenAI's models, where it is not that of ours."""


async def read_body(engine: Engine, request: Request) -> wire.EmbeddingRequest:
    """Read the body, if a transport offers embeddings."""
    check_offered(engine, Capability.EMBEDDING, _PATH)
    return await read_json(request, wire.decode_embedding)


def embedding_model(body: wire.EmbeddingRequest, catalogue: Catalogue, _caller: Caller) -> Selection:
    """Return the requested model; raises Unsupported if it computes no embeddings."""
    selection = catalogue.resolve(body.model)
    if selection.capability is not Capability.EMBEDDING:
        names = ", ".join(one.id for one in catalogue.selections() if one.capability is Capability.EMBEDDING)
        raise Unsupported(f"The model '{selection.id}' computes no embeddings. Use one of: {names}.", param="model")
    return selection


def texts_of(body: wire.EmbeddingRequest) -> list[str]:
    """Return the texts of a request.

    Raises:
        BadRequest: there is none, or one is empty or consists of token ids.

    """
    given = [body.input] if isinstance(body.input, str) else body.input or []
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        message = "'input' has token ids, which the models of this gateway do not share: send the text."
        raise BadRequest(message, param="input", code="unsupported_value")
    if not texts or not all(text.strip() for text in texts):
        raise BadRequest("'input' is empty: send a text, or a list of texts, none of them empty.", param="input")
    return texts


async def embeddings_of(
    engine: Engine, body: wire.EmbeddingRequest, selection: Selection, context: RequestContext
) -> Answer[Event, Reply]:
    """Return the answer to a request."""
    turns = tuple(Turn(role=Role.USER, parts=(TextPart(text=text),)) for text in texts_of(body))
    options = EmbeddingOptions(dimensions=body.dimensions or _USUAL_DIMENSIONS.get(selection.alias))
    request = GenerationRequest(
        id=context.id,
        caller=caller_of(context),
        selection=selection,
        turns=turns,
        attempts_before=context.attempts_before,
        embeddings=(options,) * len(turns),
    )
    writer = EmbeddingWriter(selection.id, is_base64=body.encoding_format == "base64")
    return Answer(
        request=request,
        exchange=engine.open(request),
        writer=writer,
        fold=fold,
        streamed=True,
        framing=_FRAMING,
    )


def create(engine: Engine) -> Operation[wire.EmbeddingRequest]:
    """Return the operation, which is refused by name where no transport offers embeddings."""
    read = partial(read_body, engine)
    return Operation(read=read, select=embedding_model, answer=embeddings_of, own=(Capability.EMBEDDING,))


class EmbeddingWriter(PiecewiseWriter):
    """Writes the embeddings of one request, one after another: thousands together would fill the memory."""

    def __init__(self, model: str, *, is_base64: bool) -> None:
        """Name `model`; `is_base64`: write the vectors in base64."""
        self._model, self._is_base64 = model, is_base64
        self._count = 0

    def event(self, event: Event) -> bytes:
        """Return the next embedding, or the end of the list."""
        if isinstance(event, Vector):
            vector, index = at_length_one(event.data), self._count
            self._count += 1
            shown = binascii.b2a_base64(vector, newline=False).decode() if self._is_base64 else numbers_of(vector)
            before = b"," if index else b'{"object":"list","data":['
            return before + encode_json(wire.EmbeddingObject(index=index, embedding=shown))
        if not isinstance(event, Finish):
            return b""
        self.finished = True
        tokens = event.usage.input_tokens
        end = wire.EmbeddingListEnd(
            model=self._model, usage=wire.EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)
        )
        return b"]," + encode_json(end)[1:]
