"""Makes the steps of a response from the events of an exchange, and stores it before its last step.

A client may continue from a response as soon as it has its end, so the response is stored before the end is sent. The
pictures of a client that asked for them as items are fetched when they come.
"""

import binascii
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import msgspec
import structlog

from protocol.http.context import UNCHANGED, ImageFormat, RequestContext, caller_of
from protocol.http.stream import Steps
from protocol.http.withhold import withholding
from protocol.model import (
    BadRequest,
    Engine,
    Event,
    Exchange,
    Finish,
    GatewayError,
    Media,
    MediaKind,
    MediaRef,
    Served,
    fold,
)
from protocol.openai.chat.write import Rendering
from protocol.openai.responses.output_wire import ModelResponse, OutputItem, OutputPicture
from protocol.openai.responses.state import StoredResponse, save
from protocol.openai.responses.write import Picture, ResponseBuilder, ResponseStep

_log = structlog.get_logger()


class ResponseMaker:
    """Makes one response of an answer."""

    def __init__(self, engine: Engine, context: RequestContext, stored: StoredResponse) -> None:
        """Fill a response that has no output yet; it is stored if its client allows that."""
        self._engine, self._context, self.stored = engine, context, stored
        arrived = context.created - context.started
        rendering = Rendering(context.links, caller_of(context))
        self.builder = ResponseBuilder(stored.response, rendering, lambda: arrived + context.now())

    @asynccontextmanager
    async def opened(
        self, exchange: AbstractAsyncContextManager[Exchange], *, streamed: bool
    ) -> AsyncGenerator["ResponseSteps"]:
        """Open an exchange, and yield its steps; without a stream there is one."""
        try:
            async with withholding(exchange, caller_of(self._context)) as events:
                yield ResponseSteps(events, self, streamed=streamed)
        except BadRequest as error:
            if error.param == "messages":  # as transports call what is here the input
                error.param = "input"
            raise

    async def add(self, event: Event) -> list[ResponseStep]:
        """Return the steps of an event."""
        builder = self.builder
        if isinstance(event, Finish):
            last = builder.finish(event)
            await self.save()
            events = [*builder.begin(), *last]
            return [ResponseStep(events=events, event=event, usage=event.usage, response=builder.response)]
        part, wanted = event, self.stored.pictures
        if wanted is not None and isinstance(event, Media) and event.ref.kind is MediaKind.IMAGE:
            base64 = await picture_base64(self._engine, self._context, event.ref, wanted)
            url = self._context.links.sign(event.ref, caller_of(self._context), wanted)
            part = Picture(media=event, url=url, base64=base64)
        events = builder.add(part)
        return [ResponseStep(events=[*builder.begin(), *events], event=event)] if events else []

    async def fail(self, error: GatewayError) -> None:
        """Store that the response failed, if its client knows its id already."""
        if self.builder.begun:
            self.builder.fail(error)
            await self.save()

    async def save(self) -> None:
        """Store the response in its current state; a client that waits for the answer gets it even if that fails."""
        if not self.builder.response.store:
            return
        self.stored = msgspec.structs.replace(self.stored, response=self.builder.response, media=self.builder.media)
        try:
            await save(self._context, self.stored)
        except GatewayError as error:
            _log.warning("response_store_failed", response=self.stored.response.id, code=error.code)


class ResponseSteps:
    """The steps of a response."""

    def __init__(self, events: Steps[Event], maker: ResponseMaker, *, streamed: bool) -> None:
        """Make steps of events."""
        self._events, self._maker, self._streamed = events, maker, streamed

    @property
    def served(self) -> Served:
        """The transport, account and model that serve the request."""
        return self._events.served

    async def __aiter__(self) -> AsyncIterator[ResponseStep]:
        """Yield the steps."""
        if self._streamed:
            try:
                async for event in self._events:
                    for step in await self._maker.add(event):
                        yield step
            except GatewayError as error:
                await self._maker.fail(error)
                raise
            return
        reply = await fold(self._events)  # the whole answer may have been rewritten
        async for event in reply.each():
            for step in await self._maker.add(event):
                yield step


async def picture_base64(
    engine: Engine, context: RequestContext, ref: MediaRef, image_format: ImageFormat
) -> str | None:
    """Return a picture in base64; None: it cannot be fetched now."""
    from protocol.http.picture import fitted, whole_picture  # imported with the first picture

    try:
        async with engine.media(ref, image_format.rendition) as stream:
            data = await whole_picture(stream, context)
        data, _ = await fitted(data, image_format, context)
    except GatewayError as error:
        _log.warning("response_picture_failed", code=error.code)
        return None
    content = data if isinstance(data, bytes) else await anyio.to_thread.run_sync(data.whole)
    return binascii.b2a_base64(content, newline=False).decode()


async def with_pictures(engine: Engine, context: RequestContext, stored: StoredResponse) -> ModelResponse:
    """Return a stored response with the content of its pictures, which are fetched again."""
    output: list[OutputItem] = []
    for item in stored.response.output:
        ref = stored.media.get(item.id)
        if isinstance(item, OutputPicture) and item.result is None and ref is not None:
            wanted = stored.pictures or UNCHANGED
            base64 = await picture_base64(engine, context, ref, wanted)
            url = context.links.sign(ref, caller_of(context), wanted)
            output.append(msgspec.structs.replace(item, result=base64, url=url))
        else:
            output.append(item)
    return msgspec.structs.replace(stored.response, output=output)
