"""The endpoints `POST /images/generations` and `POST /images/edits`."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.requests import Request

from protocol.http.concurrency import values
from protocol.http.context import RequestContext, caller_of, context_of
from protocol.http.embed import PiecesResponse
from protocol.http.endpoint import ASGIResponse
from protocol.http.response import WholeResponse
from protocol.http.stream import EventStream
from protocol.model import Caller, Engine, GenerationRequest, Served
from protocol.openai.client import Deprecations, attempts_before
from protocol.openai.errors import error_response
from protocol.openai.images import wire, write
from protocol.openai.images.body import read_edit, read_generation
from protocol.openai.images.deliver import Delivered, Delivery
from protocol.openai.images.draw import Drawing, Drawn, drawing
from protocol.openai.images.inputs import Inputs, take_inputs
from protocol.openai.images.read import Wanted, admit_pictures, understand

_NOTHING = Inputs(pictures=())


class _Pictures:
    """Delivers the images of each turn when it ends."""

    def __init__(self, drawing: Drawing, delivery: Delivery, n: int) -> None:
        self._drawing, self._delivery, self._n = drawing, delivery, n

    @property
    def served(self) -> Served:
        return self._drawing.served

    async def __aiter__(self) -> AsyncIterator[Delivered]:
        async for drawn in self._drawing.pictures(self._n):
            for one in await self._delivered(drawn):
                yield one

    async def all(self) -> list[Delivered]:
        """Return all images, once every turn has ended."""
        return await self._delivered([one async for drawn in self._drawing.pictures(self._n) for one in drawn])

    async def _delivered(self, drawn: list[Drawn]) -> list[Delivered]:
        return await values([partial(self._delivery.deliver, one) for one in drawn])


class Images:
    """Serves image generations and edits."""

    def __init__(self, engine: Engine) -> None:
        """Send requests to `engine`."""
        self._engine = engine
        self._deprecations = Deprecations()

    async def generate(self, request: Request) -> ASGIResponse:
        """Draw images from a prompt."""
        context = context_of(request.scope)
        caller = caller_of(context)
        body = await read_generation(request)
        wanted = self._parse(body, context, caller)
        asked = wanted.request(caller, context.id, attempts_before(request), _NOTHING)
        return self._answer(context, wanted, asked, "image_generation.completed")

    async def edit(self, request: Request) -> ASGIResponse:
        """Edit images by a prompt."""
        context = context_of(request.scope)
        caller = caller_of(context)
        body, files = await read_edit(request)
        wanted = self._parse(body, context, caller)
        admit_pictures(wanted.selection, self._engine.catalogue)
        inputs = await take_inputs(body, files, context)
        asked = wanted.request(caller, context.id, attempts_before(request), inputs)
        return self._answer(context, wanted, asked, "image_edit.completed")

    def _parse(self, body: wire.Ask, context: RequestContext, caller: Caller) -> Wanted:
        wanted = understand(body, self._engine.catalogue, caller)
        context.record.model = wanted.selection.id
        context.record.stream = wanted.stream
        if context.keep_prompt:
            context.record.prompt = body.prompt
        return wanted

    def _answer(
        self, context: RequestContext, wanted: Wanted, asked: GenerationRequest, kind: write.Kind
    ) -> ASGIResponse:
        pictures = self._pictures(context, wanted, asked)
        headers = self._deprecations.headers(wanted.selection)
        if wanted.stream:
            writer = write.PictureWriter(kind, wanted, context.created, context.record)
            raw_headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            return EventStream(pictures, writer, error_response, raw_headers)

        async def work() -> ASGIResponse:
            async with pictures as answer:
                try:
                    delivered = await answer.all()
                finally:
                    context.record.note_served(answer.served)
            data = write.images(delivered, wanted, context.created, context.record)
            return PiecesResponse(data, headers, "application/json")

        return WholeResponse(work, error_response)

    @asynccontextmanager
    async def _pictures(
        self,
        context: RequestContext,
        wanted: Wanted,
        asked: GenerationRequest,
    ) -> AsyncGenerator[_Pictures]:
        async with drawing(self._engine, asked) as begun:
            yield _Pictures(begun, Delivery(self._engine, context, asked.caller, wanted), wanted.n)
