"""`POST /chat/completions`."""

from contextlib import AbstractAsyncContextManager

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.http.body import read_json
from protocol.http.context import Context, context_of
from protocol.http.endpoint import ASGIResponse
from protocol.http.stream import EventStream
from protocol.http.whole import Whole
from protocol.model import Engine, Exchange, GenerationRequest, fold
from protocol.openai.chat import read, wire, write
from protocol.openai.chat.opening import opened, opened_and_kept
from protocol.openai.chat.pickup import job_of, lasts
from protocol.openai.chat.rendering import Rendering
from protocol.openai.chat.stop import Bounds
from protocol.openai.client import Deprecations, attempts_before
from protocol.openai.errors import error_response


class Chat:
    """Chat completions over an engine."""

    def __init__(self, engine: Engine) -> None:
        """Take the engine."""
        self._engine = engine
        self._deprecations = Deprecations()

    async def __call__(self, request: Request) -> ASGIResponse:
        """Read, open, write."""
        context = context_of(request.scope)
        body = await read_json(request, wire.decode_request)
        asked = await self._read(request, context, body)
        rendering = Rendering(context.links, asked.caller)
        head = write.Head.new(asked.selection.id, context.created)
        headers = self._deprecations.headers(asked.selection)
        exchange = self._exchange(context, head, asked, read.bounds(body))
        if body.stream:
            include = bool(body.stream_options and body.stream_options.include_usage)
            writer = write.ChunkWriter(head, context.record, rendering, include_usage=include)
            raw_headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            return EventStream(exchange, writer, error_response, raw_headers)

        async def work() -> ASGIResponse:
            async with exchange as opened:
                try:
                    reply = await fold(opened)
                finally:
                    context.record.note_served(opened.served)
            context.record.note_usage(reply.usage)
            return Response(write.completion(reply, head, rendering), headers=headers, media_type="application/json")

        return Whole(work, error_response)

    async def _read(self, request: Request, context: Context, body: wire.ChatRequest) -> GenerationRequest:
        asked = await read.read(body, self._engine.catalogue, context)
        context.record.model = asked.selection.id
        context.record.stream = bool(body.stream)
        if context.keep_prompt:
            context.record.prompt = "\n".join(turn.text for turn in asked.turns)
        return msgspec.structs.replace(asked, attempts_before=attempts_before(request))

    def _exchange(
        self,
        context: Context,
        head: write.Head,
        asked: GenerationRequest,
        bounds: Bounds,
    ) -> AbstractAsyncContextManager[Exchange]:
        if not lasts(asked):
            return opened(self._engine, asked, bounds)
        job = job_of(head.id, head.model, context.created, asked, bounds)
        return opened_and_kept(self._engine, context.jobs, job)
