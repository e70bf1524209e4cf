"""The endpoint `POST /chat/completions`."""

from contextlib import AbstractAsyncContextManager

from starlette.requests import Request

from protocol.http.body import read_json
from protocol.http.context import RequestContext, context_of
from protocol.http.endpoint import ASGIResponse
from protocol.http.response import Payload, WholeResponse
from protocol.http.stream import EventStream
from protocol.model import Engine, Exchange, GenerationRequest, fold
from protocol.openai.chat import read, wire, write
from protocol.openai.chat.background import job_of, lasts
from protocol.openai.chat.opening import opened, opened_and_kept
from protocol.openai.chat.rendering import Rendering
from protocol.openai.chat.stop import Bounds
from protocol.openai.client import Deprecations, attempts_before
from protocol.openai.errors import error_response

_JSON = (b"content-type", b"application/json")


class Chat:
    """Serves chat completions."""

    def __init__(self, engine: Engine) -> None:
        """Send requests to `engine`."""
        self._engine = engine
        self._deprecations = Deprecations()

    async def __call__(self, request: Request) -> ASGIResponse:
        """Read the request, open its exchange, and return the response."""
        context = context_of(request.scope)
        body = await read_json(request, wire.decode_request)
        asked = await read.read(body, self._engine.catalogue, context, attempts_before=attempts_before(request))
        _note(context, asked)
        rendering = Rendering(context.links, asked.caller)
        head = write.Head.new(asked.selection.id, context.created)
        headers = self._deprecations.headers(asked.selection)
        raw_headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        exchange = self._exchange(context, head, asked, read.bounds(body))
        if body.stream:
            include = bool(body.stream_options and body.stream_options.include_usage)
            writer = write.ChunkWriter(head, context.record, rendering, include_usage=include)
            return EventStream(exchange, writer, error_response, raw_headers)

        async def work() -> ASGIResponse:
            async with exchange as opened:
                try:
                    reply = await fold(opened)
                finally:
                    context.record.note_served(opened.served)
            context.record.note_usage(reply.usage)
            return Payload(write.completion(reply, head, rendering), [_JSON, *raw_headers])

        return WholeResponse(work, error_response)

    def _exchange(
        self,
        context: RequestContext,
        head: write.Head,
        asked: GenerationRequest,
        bounds: Bounds,
    ) -> AbstractAsyncContextManager[Exchange]:
        if not lasts(asked):
            return opened(self._engine, asked, bounds)
        job = job_of(head.id, head.model, context.created, asked, bounds)
        return opened_and_kept(self._engine, context.jobs, job)


def _note(context: RequestContext, asked: GenerationRequest) -> None:
    """Write the model, and the prompt if it is logged, to the request's record."""
    context.record.model = asked.selection.id
    context.record.stream = asked.streamed
    if context.keep_prompt:
        context.record.prompt = "\n".join(turn.text for turn in asked.turns)
