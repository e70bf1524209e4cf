"""Writes server-sent events (SSE): a streaming response that owns its exchange.

The exchange is opened inside the response, so that its end, an error or a disconnect closes exchange, upstream
response and lease in that order and at once. The status waits for the first event. If the upstream sends nothing for
one heartbeat, the client gets a 200 and an SSE comment (`: keep-alive`), so that no proxy or client times out.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeVar

import structlog

from protocol.http.context import RequestContext, context_of
from protocol.http.disconnect import DisconnectWatcher
from protocol.http.embed import Pieces
from protocol.http.endpoint import CLIENT_GONE, Refuse
from protocol.http.response import shutting_down
from protocol.model import GatewayError, Served, released

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_HEARTBEAT = b": keep-alive\n\n"

_log = structlog.get_logger()


EventT = TypeVar("EventT")
StepT_co = TypeVar("StepT_co", covariant=True)
StepT_contra = TypeVar("StepT_contra", contravariant=True)


class Answer(Protocol[StepT_co]):
    """The events of a response: an `Exchange`, or a dialect's transformation of one."""

    @property
    def served(self) -> Served:
        """The transport, account and model that serve the request."""
        ...

    def __aiter__(self) -> AsyncIterator[StepT_co]:
        """Yield the events; raises GatewayError if the response breaks off."""
        ...


class EventWriter(Protocol[StepT_contra]):
    """Encodes the events of one response in a dialect."""

    def opened(self) -> bytes:
        """Return the bytes before the first event."""
        ...

    def event(self, event: StepT_contra, /) -> bytes | Pieces:
        """Return an event's bytes, perhaps none."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the response is complete: later events are ignored."""
        ...

    def error(self, error: GatewayError) -> bytes:
        """Return the bytes that end a stream with an error."""
        ...


class EventStream(Generic[EventT]):
    """Streams an exchange to the client as SSE."""

    def __init__(
        self,
        exchange: AbstractAsyncContextManager[Answer[EventT]],
        writer: EventWriter[EventT],
        refuse: Refuse,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        """Take an exchange that is not open yet; `refuse` writes an error that comes before the first event."""
        self._exchange, self._writer, self._refuse, self._headers = exchange, writer, refuse, headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer."""
        context = context_of(scope)
        watcher = DisconnectWatcher(scope)
        wire = _Wire(send, self._headers, watcher, context)
        refusal: GatewayError | None = None

        async def work() -> None:
            nonlocal refusal
            refusal = await self._run(context, wire)
            await wire.end(self._writer.error(refusal) if refusal is not None else b"")

        try:
            await watcher.run(work)
            if watcher.closed:
                refusal = shutting_down()
                await wire.end(self._writer.error(refusal))
        finally:
            wire.close()
        if watcher.gone:
            context.record.error = CLIENT_GONE
            return
        if refusal is not None:
            context.record.error = refusal.code
            if not wire.started:
                await self._refuse(refusal)(scope, receive, send)

    async def _run(self, context: RequestContext, wire: "_Wire") -> GatewayError | None:
        try:
            async with self._exchange as exchange:
                context.record.note_served(exchange.served)
                try:
                    await self._write(exchange, context, wire)
                finally:
                    context.record.note_served(exchange.served)
        except GatewayError as error:
            return released(error)
        except Exception:  # noqa: BLE001 -- a bug must not look like the end of the response
            _log.exception("request_failed", request=context.id)
            return GatewayError("The gateway failed.")
        return None

    async def _write(self, exchange: Answer[EventT], context: RequestContext, wire: "_Wire") -> None:
        """Write events until the response is complete; then read the exchange to its end, as `fold` does."""
        writer = self._writer
        opened = writer.opened()
        try:
            async for event in exchange:
                if writer.finished:
                    continue
                data = writer.event(event)
                if data:
                    context.mark_first_token()
                if opened:  # goes with the first event, which is there when the exchange is open
                    data, opened = await wire.begin(opened, data), b""
                if data:
                    await wire.send(data, last=writer.finished)
        except GatewayError:
            if not writer.finished:
                raise
        await wire.send(opened)


class _Wire:
    """Sends the bytes of one SSE response, and a comment whenever nothing was sent for one heartbeat.

    The comment is sent by a shared timer (`protocol.http.timers`). A piece that comes while a comment is being sent
    waits for it.
    """

    def __init__(
        self, send: Any, headers: list[tuple[bytes, bytes]], watcher: DisconnectWatcher, context: RequestContext
    ) -> None:
        self._send, self._headers, self._watcher = send, headers, watcher
        self._seconds = context.limits.heartbeat_seconds
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time()
        self._sending = False
        self._heartbeat: asyncio.Task[None] | None = None
        self._timer = context.timers.of(self._seconds)
        self._timer.add(self)
        self.started = False

    async def begin(self, opened: bytes, data: bytes | Pieces) -> bytes | Pieces:
        """Return bytes together with those that go before them; send these at once before pieces."""
        if isinstance(data, bytes):
            return opened + data
        await self.send(opened)
        return data

    async def send(self, data: bytes | Pieces, *, last: bool = False) -> None:
        """Send bytes; `last`: they end the stream."""
        if self._heartbeat is not None:
            await asyncio.wait([self._heartbeat])
        self._sending = True
        try:
            if isinstance(data, bytes):
                await self._put(data, last=last)
                return
            async for piece in data:
                await self._put(piece)
            if last:
                await self._put(b"", last=True)
        finally:
            self._sending = False

    async def end(self, data: bytes) -> None:
        """Send the last bytes of a stream that was begun, and has not ended."""
        if self.started and not self._watcher.finished:
            await self.send(data, last=True)

    def close(self) -> None:
        """Send no more comments."""
        self._timer.discard(self)
        if self._heartbeat is not None:
            self._heartbeat.cancel()

    async def _put(self, data: bytes, *, last: bool = False) -> None:
        if not self.started:
            self.started = True
            headers = [*HEADERS, *self._headers]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        elif not data and not last:
            return
        self._watcher.finished = last
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})
        self._at = self._loop.time()

    @property
    def due(self) -> float | None:
        """When a comment is sent (`protocol.http.timers.Timeout`); none while the client takes nothing."""
        waiting = self._sending or self._heartbeat is not None or self._watcher.finished
        return None if waiting else self._at + self._seconds

    def expire(self) -> None:
        """Send a comment."""
        self._heartbeat = self._loop.create_task(self._beat())

    async def _beat(self) -> None:
        try:
            await self._put(_HEARTBEAT)
        finally:
            self._heartbeat = None
