"""Writes server-sent events (SSE), or another form of stream: a streaming response that owns its exchange.

The exchange is opened inside the response, so that its end, an error or a disconnect closes exchange, upstream
response and lease in that order and at once. The status waits for the first event. If the upstream sends nothing for
one heartbeat, the client gets a 200 and an SSE comment (`: keep-alive`), so that no proxy or client times out. Another
`StreamFraming` serves dialects with another form of stream, or whose clients take no comments.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import structlog

from protocol.http.context import RequestContext, RequestRecord, context_of
from protocol.http.disconnect import DisconnectWatcher
from protocol.http.embed import Pieces
from protocol.http.errors import CLIENT_GONE, Refuse
from protocol.http.unfinished import StreamUsage
from protocol.model import GatewayError, Served, released

STREAM_HEADERS = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
"""Headers of every stream, which keep proxies from collecting it."""

_log = structlog.get_logger()

StepT = TypeVar("StepT")
StepT_co = TypeVar("StepT_co", covariant=True)
StepT_contra = TypeVar("StepT_contra", contravariant=True)


class StreamFraming(msgspec.Struct, frozen=True, kw_only=True):
    """The form of a stream, apart from its steps."""

    media_type: bytes
    heartbeat: bytes
    """What is sent when nothing else was sent for one heartbeat; it means nothing to the client. Empty: nothing is."""
    breaks: bool = False
    """Whether an error breaks the connection off, since the form cannot tell an error from the answer."""


SSE = StreamFraming(media_type=b"text/event-stream; charset=utf-8", heartbeat=b": keep-alive\n\n")


def usage_header(*, exact: bool) -> tuple[bytes, bytes]:
    """Return the header that says how the tokens of an answer are counted."""
    return (b"x-gateway-usage", b"exact" if exact else b"estimate")


class Steps(Protocol[StepT_co]):
    """The steps of an answer: the events of an `Exchange`, or a dialect's own; its `usage` has the tokens of a step."""

    @property
    def served(self) -> Served:
        """The transport, account and model that serve the request."""
        ...

    def __aiter__(self) -> AsyncIterator[StepT_co]:
        """Yield the steps; raises GatewayError if the answer breaks off."""
        ...


class EventWriter(Protocol[StepT_contra]):
    """Encodes the steps of one streamed answer in a dialect."""

    def opened(self) -> bytes:
        """Return the bytes before the first step."""
        ...

    def event(self, event: StepT_contra, /) -> bytes | Pieces:
        """Return a step's bytes, perhaps none."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the answer is complete: later steps are ignored."""
        ...

    def error(self, error: GatewayError) -> bytes:
        """Return the bytes that end a stream with an error."""
        ...


class EventStream(Generic[StepT]):
    """Streams an exchange to the client, and counts its tokens."""

    def __init__(
        self,
        exchange: AbstractAsyncContextManager[Steps[StepT]],
        writer: EventWriter[StepT],
        refuse: Refuse,
        headers: list[tuple[bytes, bytes]],
        framing: StreamFraming = SSE,
    ) -> None:
        """Take an exchange that is not open yet; `refuse` writes an error that comes before the first event."""
        self._exchange, self._writer, self._refuse, self._headers = exchange, writer, refuse, headers
        self._framing = framing

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle the request."""
        context = context_of(scope)
        record = context.record
        watcher = DisconnectWatcher(scope, context.endings)
        sender = _Sender(send, self._headers, self._framing, watcher, context)
        error: GatewayError | None = None
        try:
            with watcher:
                try:
                    async with self._exchange as exchange:
                        served = exchange.served
                        record.note_served(served)
                        self._headers.append(usage_header(exact=served.counts))
                        try:
                            await self._write(exchange, context, sender)
                        finally:
                            record.note_served(exchange.served)
                except GatewayError as raised:
                    error = released(raised)
                except Exception:  # noqa: BLE001 -- a bug must not look like the end of the response
                    _log.exception("request_failed", request=context.id)
                    error = GatewayError("The gateway failed.")
                await self._end(sender, error, record)
            if watcher.ended is not None:
                error = watcher.ended
                await self._end(sender, error, record)
        finally:
            sender.close()
        if watcher.gone:
            record.error = CLIENT_GONE
        elif error is not None and not sender.started:
            await self._refuse(error)(scope, receive, send)

    async def _end(self, sender: "_Sender", error: GatewayError | None, record: RequestRecord) -> None:
        """End the stream; with an error, say so or leave it unended, which breaks the connection off."""
        if error is None:
            await sender.end(b"")
            return
        record.note_error(error)
        if not self._framing.breaks:
            await sender.end(self._writer.error(error))

    async def _write(self, exchange: Steps[StepT], context: RequestContext, sender: "_Sender") -> None:
        """Write steps until the answer is complete; then read the exchange to its end, as `fold` does."""
        writer, usage = self._writer, StreamUsage()
        sender.opened = writer.opened()
        try:
            async for step in exchange:
                if writer.finished:
                    continue
                data = writer.event(step)
                usage.add(step)
                if data:
                    context.mark_first_token()
                if writer.finished:  # the record is complete before the client has the last byte
                    context.record.note_served(exchange.served)
                    usage.note(context)
                if data or sender.opened:
                    await sender.send(data, last=writer.finished)
        except GatewayError:
            if not writer.finished:
                usage.fail()
                raise
        finally:
            usage.note(context)
        await sender.send(b"")


class _Sender:
    """Sends the bytes of one SSE response, and a comment whenever nothing was sent for one heartbeat.

    The comment is sent by a shared timer (`protocol.http.timers`). A piece that comes while a comment is being sent
    waits for it.
    """

    def __init__(
        self,
        send: Any,
        headers: list[tuple[bytes, bytes]],
        framing: StreamFraming,
        watcher: DisconnectWatcher,
        context: RequestContext,
    ) -> None:
        self._send, self._watcher, self._heartbeat_bytes = send, watcher, framing.heartbeat
        self._media_type, self._headers = framing.media_type, headers
        self._seconds = context.limits.heartbeat_seconds
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time()
        self._sending = False
        self._heartbeat: asyncio.Task[None] | None = None
        self._timer = context.timers.of(self._seconds)
        self._timer.add(self)
        self.started = False
        self.opened = b""
        """The beginning of the stream, which is sent with the first step."""

    async def send(self, data: bytes | Pieces, *, last: bool = False) -> None:
        """Send bytes, after those of `opened`; `last`: they end the stream."""
        if self._heartbeat is not None:
            await asyncio.wait([self._heartbeat])
        opened, self.opened = self.opened, b""
        self._sending = True
        try:
            if isinstance(data, bytes):
                await self._put(opened + data if opened else data, last=last)
                return
            await self._put(opened)
            async for piece in data:
                await self._put(piece)
            if last:
                await self._put(b"", last=True)
        finally:
            self._sending = False

    async def end(self, data: bytes) -> None:
        """Send the last bytes of a stream that was begun, and has not ended."""
        self.opened = b""
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
            headers = [(b"content-type", self._media_type), *STREAM_HEADERS, *self._headers]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        elif not data and not last:
            return
        self._watcher.finished = last
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})
        self._at = self._loop.time()

    @property
    def due(self) -> float | None:
        """When a comment is sent (`protocol.http.timers.Timeout`); none while the client takes nothing."""
        waiting = not self._heartbeat_bytes or self._sending or self._heartbeat is not None or self._watcher.finished
        return None if waiting else self._at + self._seconds

    def expire(self) -> None:
        """Send a comment."""
        self._heartbeat = self._loop.create_task(self._beat())

    async def _beat(self) -> None:
        try:
            await self._put(self._heartbeat_bytes)
        finally:
            self._heartbeat = None
