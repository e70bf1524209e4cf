"""The endpoints `:embedContent` and `:batchEmbedContents` of a model."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request

from protocol.gemini import wire
from protocol.gemini.candidate_wire import UsageMetadata
from protocol.gemini.read_contents import messages_of
from protocol.http.always_streamed import PiecewiseWriter, unframed
from protocol.http.body import encode_json, read_json
from protocol.http.context import RequestContext, caller_of
from protocol.http.conversation import read_turns
from protocol.http.lenient import LenientDecoder
from protocol.http.operation import Answer, Operation
from protocol.http.own_models import check_offered
from protocol.http.vectors import numbers_of
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
    ModelUnknown,
    Reply,
    Selection,
    Turn,
    Vector,
    fold,
)

_MOST_REQUESTS = 100
_FRAMING = unframed(b"application/json")


class EmbedFields(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A content whose embedding is wanted: the body of `:embedContent`."""

    content: wire.GeminiContent | str | None = None
    model: str = ""
    task_type: str = ""
    title: str = ""
    output_dimensionality: Annotated[int, Meta(ge=1)] | None = None


class EmbedFieldsBatch(msgspec.Struct, frozen=True):
    """The body of `:batchEmbedContents`."""

    requests: Annotated[list[EmbedFields], Meta(max_length=_MOST_REQUESTS)] = []


class EmbeddedContent(msgspec.Struct, frozen=True):
    """The embedding of a content."""

    values: tuple[float, ...]


class AskedEmbeddings(msgspec.Struct, frozen=True):
    """A request with the model that its URL names."""

    model: str
    requests: Sequence[EmbedFields]
    is_batch: bool


_single, _batch = LenientDecoder(EmbedFields), LenientDecoder(EmbedFieldsBatch)


def _decode(is_batch: bool, body: bytes) -> Sequence[EmbedFields]:
    value = wire.in_camel_case(msgspec.json.decode(body))
    return _batch.convert(value).requests if is_batch else [_single.convert(value)]


async def read_asked(engine: Engine, verb: str, request: Request) -> AskedEmbeddings:
    """Read the body, if a transport offers embeddings."""
    check_offered(engine, Capability.EMBEDDING, f":{verb}")
    is_batch = verb.startswith("batch")
    model = request.path_params["model"]
    return AskedEmbeddings(model, await read_json(request, partial(_decode, is_batch)), is_batch)


def embedding_model(asked: AskedEmbeddings, catalogue: Catalogue, _caller: Caller) -> Selection:
    """Return the requested model; raises ModelUnknown if it computes no embeddings."""
    selection = catalogue.resolve(asked.model)
    if selection.capability is not Capability.EMBEDDING:
        names = ", ".join(one.id for one in catalogue.selections() if one.capability is Capability.EMBEDDING)
        raise ModelUnknown(f"The model '{selection.id}' computes no embeddings. Use one of: {names}.")
    return selection


def options_of(asked: AskedEmbeddings) -> tuple[EmbeddingOptions, ...]:
    """Return the options of each content.

    Raises:
        BadRequest: a field is wrong; `param` is its path.

    """
    found: list[EmbeddingOptions] = []
    for place, one in enumerate(asked.requests):
        at = f"requests[{place}]." if asked.is_batch else ""
        if one.task_type and one.task_type not in wire.TASK_TYPES:
            raise BadRequest(f"'{at}taskType' must be one of: {', '.join(wire.TASK_TYPES[1:])}.", param=f"{at}taskType")
        if one.model and one.model.removeprefix("models/") != asked.model:
            message = f"'{at}model' is another model than that of the address: write '{asked.model}'."
            raise BadRequest(message, param=f"{at}model")
        task = "" if one.task_type == wire.TASK_TYPES[0] else one.task_type
        found.append(EmbeddingOptions(dimensions=one.output_dimensionality, task=task, title=one.title))
    return tuple(found)


async def turns_of(
    asked: AskedEmbeddings, selection: Selection, catalogue: Catalogue, context: RequestContext
) -> tuple[Turn, ...]:
    """Return the contents, with their files.

    Raises:
        BadRequest: there is none, or one is empty.

    """
    turns: list[Turn] = []
    for place, one in enumerate(asked.requests):
        at = f"requests[{place}].content" if asked.is_batch else "content"
        content = wire.GeminiContent(parts=[one.content]) if isinstance(one.content, str) else one.content
        contents = [] if content is None else [msgspec.structs.replace(content, role="user")]
        read = messages_of(wire.GenerateRequest(contents=[*contents]))
        if len(read) != 1:
            raise BadRequest(f"'{at}' is empty: send a text or a file.", param=at)
        turns += await read_turns(read, selection, catalogue, context)
    if not turns:
        raise BadRequest("'requests' is empty: send at least one content.", param="requests")
    return tuple(turns)


async def _answer(
    engine: Engine, asked: AskedEmbeddings, selection: Selection, context: RequestContext
) -> Answer[Event, Reply]:
    options = options_of(asked)
    request = GenerationRequest(
        id=context.id,
        caller=caller_of(context),
        selection=selection,
        turns=await turns_of(asked, selection, engine.catalogue, context),
        attempts_before=context.attempts_before,
        embeddings=options,
    )
    writer = GeminiEmbeddingWriter(is_batch=asked.is_batch)
    return Answer(
        request=request,
        exchange=engine.open(request),
        writer=writer,
        fold=fold,
        streamed=True,
        framing=_FRAMING,
    )


def embedding(engine: Engine, verb: str) -> Operation[AskedEmbeddings]:
    """Return the operation of a verb, which is refused by name where no transport offers embeddings."""
    return Operation(
        read=partial(read_asked, engine, verb), select=embedding_model, answer=_answer, own=(Capability.EMBEDDING,)
    )


class GeminiEmbeddingWriter(PiecewiseWriter):
    """Writes embeddings, as the upstream computes them: shortened ones have another length than 1."""

    def __init__(self, *, is_batch: bool) -> None:
        """`is_batch`: the answer is a list."""
        self._is_batch, self._begun = is_batch, False

    def event(self, event: Event) -> bytes:
        """Return the next embedding, or the end of the answer."""
        if isinstance(event, Vector):
            shown = encode_json(EmbeddedContent(numbers_of(event.data)))
            if not self._is_batch:
                return b'{"embedding":' + shown
            before, self._begun = b"," if self._begun else b'{"embeddings":[', True
            return before + shown
        if not isinstance(event, Finish):
            return b""
        self.finished = True
        tokens = event.usage.input_tokens
        counts = UsageMetadata(prompt_token_count=tokens, total_token_count=tokens)
        return (b"]" if self._is_batch else b"") + b',"usageMetadata":' + encode_json(counts) + b"}"
