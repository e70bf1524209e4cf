"""A toy dialect: `POST /toy/answers`, with its own JSON, its own errors and the key in `x-api-key`."""

from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from protocol.http.body import read_json
from protocol.http.context import RequestContext, caller_of
from protocol.http.errors import HttpError
from protocol.http.operation import Answer, Dialect, HeaderKey, Operation
from protocol.model import (
    BadRequest,
    Caller,
    Catalogue,
    Engine,
    Event,
    Exchange,
    Finish,
    Forbidden,
    GatewayError,
    GenerationRequest,
    ModelUnknown,
    Reply,
    Role,
    Selection,
    Text,
    TextPart,
    Turn,
    Unauthorized,
    fold,
)

_STATUS = ((BadRequest, 400), (Unauthorized, 401), (Forbidden, 403), (ModelUnknown, 404), (GatewayError, 503))


class Question(msgspec.Struct, frozen=True):
    """The body of a request."""

    model: str
    question: str
    stream: bool = False


async def read(request: Request) -> Question:
    """Read and decode the body."""
    return await read_json(request, msgspec.json.Decoder(Question).decode)


def select(body: Question, catalogue: Catalogue, caller: Caller) -> Selection:
    """Return the model."""
    return catalogue.resolve(body.model)


async def answer(engine: Engine, body: Question, selection: Selection, context: RequestContext) -> Answer[Event, Reply]:
    """Return the answer, which is not open yet."""
    request = GenerationRequest(
        id=context.id,
        caller=caller_of(context),
        selection=selection,
        turns=(Turn(role=Role.USER, parts=(TextPart(text=body.question),)),),
        attempts_before=context.attempts_before,
        streamed=body.stream,
    )
    exchange: AbstractAsyncContextManager[Exchange] = engine.open(request)
    return Answer(request=request, exchange=exchange, writer=Writer(), fold=fold, streamed=body.stream)


class Writer:
    """Writes one answer, streamed or whole."""

    finished = False

    def opened(self) -> bytes:
        """Return the beginning of a stream."""
        return _event(begin=True)

    def event(self, event: Event) -> bytes:
        """Return an event of a stream; the toy has no form for media and thoughts."""
        if isinstance(event, Finish):
            self.finished = True
            return _event(end=event.reason)
        return _event(more=event.text) if isinstance(event, Text) else b""

    def error(self, error: GatewayError) -> bytes:
        """Return the end of a stream that failed."""
        return _event(**_problem(error))

    def whole(self, reply: Reply) -> bytes:
        """Return a whole answer."""
        return msgspec.json.encode({"answer": reply.text, "tokens": reply.usage.output_tokens})


def refuse(error: GatewayError) -> Response:
    """Return an error that comes before the answer."""
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    if isinstance(error, HttpError):
        status = error.status
    return Response(msgspec.json.encode(_problem(error)), status, media_type="application/json")


def _problem(error: GatewayError) -> dict[str, str]:
    return {"problem": error.code, "advice": error.message}


def _event(**fields: Any) -> bytes:
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"


ASK = Operation(read=read, select=select, answer=answer)


def routes(engine: Engine) -> list[Route]:
    """Return the routes of this dialect for an engine."""
    return [Route("/toy/answers", ASK.endpoint(engine, refuse), methods=["POST"])]


DIALECT = Dialect(name="toy", routes=routes, refuse=refuse, credentials=(HeaderKey("x-api-key"),))
