"""Faster and stricter HTTP/1.1 connections for hypercorn: h11 parses requests, `Framing` writes responses.

hypercorn 0.18 passes the head of a response, each piece of its body and its end through its layers and h11 one by one,
scans the headers of a request four times, and restarts a task with a timeout around each request. That takes 110 of its
170 µs per request. It also answers invalid requests with an empty body, closes connections with unread bytes, which
resets them (pgjones/hypercorn#314), takes a half-closed connection for a disconnect, and speaks HTTP/2 and WebSockets
without a deadline; here, requests that ask for another protocol are answered as HTTP/1.1 (RFC 9110 section 7.8).

h11 only parses requests and never sees a response. Each request has a new `h11.Connection`, which starts with the bytes
that the previous one did not use:

    bytes ─ h11.Connection ─ Request ─ check_head ─ RequestStream ─ messages ─ app
                             Data, EndOfMessage ─────────────────── messages ─┘
    bytes ─ Framing ─ RequestStream ─ messages ───────────────────────────────┘

A request ends in one of these ways. `Linger` closes the sending side and drops what the client still sends, since
closing a socket with unread bytes makes TCP discard the response:

    complete, keep-alive          the next request is read
    complete, `close`             Closed
    body unread                   Discard; then the next request, or `Connection: close` and Linger
    invalid                       the error (`_refuse`), then Linger

hypercorn has no interface for this. So subclasses of its `TCPServer` (hypercorn/asyncio/tcp_server.py), `WorkerContext`
(asyncio/worker_context.py) and `H11Protocol` (protocol/h11.py) override and call private methods, and `install` puts
them in place of the originals. pyproject.toml bounds hypercorn below the next minor version;
`tests/service/server/test_connection.py` fails where a newer one does not use them.
"""

import asyncio
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast
from urllib.parse import unquote

import h11
import hypercorn.asyncio.run
import hypercorn.protocol
import structlog
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import EventWrapper, WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol

from protocol.http.disconnect import CLIENT
from protocol.http.errors import HttpError
from service.server.chunks import ChunkLimits
from service.server.connection_timers import IdleTimer, timers
from service.server.discard import GRACE_SECONDS, LONGEST_SECONDS, Discard
from service.server.errors import ErrorBody, error_body
from service.server.framing import tokens_of
from service.server.half_closed import HalfClosedWatch
from service.server.request_head import HeadLimits, RequestHead, check_head, parse_error
from service.server.request_stream import MessageQueue, RequestStream

_OPEN = {h11.DONE, h11.MIGHT_SWITCH_PROTOCOL}  # pyright: ignore[reportPrivateImportUsage]
"""States of a client whose request is complete, so that another one may follow."""
_LAST = {h11.MUST_CLOSE, h11.CLOSED}  # pyright: ignore[reportPrivateImportUsage]
"""States of a client whose request is complete, and the last one."""
_INCOMPLETE = {h11.SEND_BODY, h11.ERROR}  # pyright: ignore[reportPrivateImportUsage]
"""States of a client whose request is not complete."""
_UNREADABLE = h11.Request(method="GET", target="/", headers=[("Host", "")])
"""Stands for a request whose head could not be parsed."""
_BLANK_LINES = re.compile(rb"(?:\r?\n)+")
_MOST_BLANK = 1024
_READ_BYTES = 64 * 1024

_log = structlog.get_logger()


class ServerConfig(Config):
    """hypercorn's configuration, with the limits on requests and the form of errors."""

    head_limits = HeadLimits()
    error_body: ErrorBody = staticmethod(error_body)


class ReadPaused(Event):
    """Stop reading until the current request is answered: the client has begun the next one, or sends no more."""

    def __init__(self, answered: Any, probe: Callable[[], bytes | None], left: Callable[[], None]) -> None:
        """Wait for `answered`; call `left` if the client disconnects first (`HalfClosedWatch`)."""
        self.answered, self.probe, self.left = answered, probe, left


class Linger(Event):
    """Close the connection after its last response, although the client may still send."""

    def __init__(self, most: int, longest: float) -> None:
        """Drop up to `most` bytes, for up to `longest` seconds (`Discard`)."""
        self.most, self.longest = most, longest


class ServerConnection(TCPServer):
    """A connection. A timer closes it when it is idle for too long; shutdown closes it at once if it is idle."""

    def __init__(self, *arguments: Any) -> None:
        """Take hypercorn's arguments."""
        super().__init__(*arguments)
        self.idle_task: Any = IdleTimer(self.config.keep_alive_timeout, self._close_idle)
        self._lingering: Discard | None = None
        self._watch: HalfClosedWatch | None = None

    async def run(self) -> None:
        """Serve the connection until it closes; then break reference cycles, so that it is freed at once."""
        try:
            await super().run()
        finally:
            vars(self).clear()

    async def protocol_send(self, event: Any) -> None:
        """Handle an event of the protocol: write bytes, pause reading, or start the idle timer."""
        if type(event) is Updated:
            self.idle_task.set_idle(idle=event.idle)
        elif type(event) is RawData:
            try:
                self.writer.write(event.data)
                await self.writer.drain()
            except (OSError, RuntimeError):  # TimeoutError: the client stopped reading
                await self.protocol.handle(Closed())
        elif type(event) is ReadPaused:
            self._watch = HalfClosedWatch(self.writer, event.probe, event.left)
            with self._watch.while_paused(self.reader):
                await event.answered.wait()
        elif type(event) is Linger:
            with suppress(NotImplementedError, OSError, RuntimeError):  # TLS closes both sides at once
                self.writer.write_eof()
            self._lingering = Discard(event.most, self.loop.time(), self._close_idle, event.longest)
            timers().of(GRACE_SECONDS).add(self._lingering)
        else:
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        terminated = cast("_Terminated", self.context.terminated)
        terminated.connections.add(self)
        try:
            if terminated.is_set():
                self.end()
            data = b"-"
            while data:
                data = await self.reader.read(_READ_BYTES)
                if self._lingering is None:
                    await self.protocol.handle(RawData(data))
                elif not self._lingering.take(len(data)):
                    break
        except OSError:
            pass  # the client has disconnected
        finally:
            terminated.connections.discard(self)
            await self.idle_task.stop()
            if self._lingering is not None:
                timers().of(GRACE_SECONDS).discard(self._lingering)
        await self.protocol.handle(Closed())

    async def _close(self) -> None:
        with suppress(OSError):  # the client stopped reading
            await super()._close()

    def end(self) -> None:
        """Close the connection at shutdown if it is idle; otherwise the end of the response closes it."""
        if self.idle_task.running or self._lingering is not None:
            self._close_idle()
        else:
            cast("Any", self.protocol.protocol).stop_discarding()
            if self._watch is not None:
                self._watch.end()

    def _close_idle(self) -> None:
        tasks: Any = self._task_group
        tasks.spawn(self._initiate_server_close)

    async def _initiate_server_close(self) -> None:
        if not await cast("Any", self.protocol.protocol).time_out():
            await super()._initiate_server_close()


class _Terminated(EventWrapper):
    """The shutdown event. Setting it ends all connections, so that none needs a task that waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.connections: set[ServerConnection] = set()

    async def set(self) -> None:
        await super().set()
        for one in tuple(self.connections):
            one.end()


class ServerContext(WorkerContext):
    """State that the connections of one server share."""

    def __init__(self, max_requests: int | None) -> None:
        """Take hypercorn's arguments."""
        super().__init__(max_requests)
        self.terminated = _Terminated()


class ServerProtocol(H11Protocol):
    """Handles the requests of a connection, one after the other."""

    def __init__(self, *arguments: Any) -> None:
        """Take hypercorn's arguments."""
        super().__init__(*arguments)
        self.stream: Any = None
        self.keep_alive_requests: int = 0
        self.limits = cast("ServerConfig", self.config).head_limits
        self._ended = False
        """Whether no more requests are read."""
        self._head = b""
        """The received bytes of a head that is incomplete."""
        self._blank = 0
        """Bytes of empty lines before the request."""
        self._surplus = False
        """Whether the client sent more after its last request."""
        self._chunks: ChunkLimits | None = None
        self._discard: Discard | None = None
        """The rest of a body that is being dropped."""
        self._linger_seconds = LONGEST_SECONDS
        self._piece = b""
        self._dated = -1
        self._date: list[bytes] = []

    async def handle(self, event: Any) -> None:
        """Handle bytes, or the end of the connection."""
        if type(event) is RawData:
            self._receive(event.data)
            await self._handle_events()
            if not event.data and self.stream is not None and not self._ended:  # the client closed its sending side
                await self._pause()
        elif type(event) is Closed:
            self._ended = True
            self._stop_discarding()
            await self._close_stream()
            await self.can_read.set()

    def _receive(self, data: bytes) -> None:
        """Pass received bytes on to h11, without empty lines before a request (RFC 9112 section 2.2)."""
        state = self.connection.their_state
        if state in _LAST and data:
            self._surplus = True  # RFC 9112 section 9.6: no request is processed after one that says `close`
            return
        if state is h11.IDLE:
            if self._head in {b"", b"\r"}:
                data, self._head = self._without_blank_lines(self._head + data), b""
            self._head += data
            if data == b"\r":
                return
        elif self._chunks is not None:
            self._chunks.received += len(data)
        self.connection.receive_data(data)

    def _without_blank_lines(self, data: bytes) -> bytes:
        """Return the bytes of a head without the empty lines before it."""
        blank = _BLANK_LINES.match(data)
        if blank is None or self._blank + blank.end() > _MOST_BLANK:
            return data
        self._blank += blank.end()
        return data[blank.end() :]

    async def _handle_events(self) -> None:
        while not self._ended:
            state = self.connection.their_state
            if state in _LAST and self.connection.trailing_data[0]:
                self._surplus = True
                return
            try:
                event: Any = self.connection.next_event()
                more = await self._take(event)
            except h11.RemoteProtocolError as error:
                await self._refuse(parse_error(error, self._head, self.limits))
            except HttpError as error:
                await self._refuse(error)
            else:
                if event is h11.PAUSED:
                    await self._pause()
                elif not more:
                    return

    async def _pause(self) -> None:
        """Stop reading until the current request is answered."""

        def probe() -> bytes | None:
            return self.stream.probe() if self.stream is not None else b""

        def leave() -> None:
            if self.stream is not None:
                tasks: Any = self.task_group
                tasks.spawn(self.stream.close)

        await self.can_read.clear()
        await self.send(ReadPaused(self.can_read, probe, leave))

    async def _take(self, event: Any) -> bool:
        """Handle an event of a request; return whether more events may be available.

        A piece of a body is kept until the next event, so that the last piece is sent with `more_body: False`.

        Raises:
            HttpError: the request is refused.

        """
        if isinstance(event, h11.Request):
            await self._begin(event)
            return True
        data = bytes(event.data) if isinstance(event, h11.Data) else b""
        if self._chunks is not None:
            self._chunks.payload += len(data)
            if event is h11.NEED_DATA:
                self._chunks.check(self._body_reader)
        last = isinstance(event, h11.EndOfMessage)
        if self._discard is not None:
            if last or not self._discard.take(len(data)):
                await self._end_discarding(drained=last)
            else:
                await asyncio.sleep(0)  # the app does not pause this: a read may hold thousands of chunks
        elif (last or self._piece) and self.stream is not None:
            await self.stream.app_put({"type": "http.request", "body": self._piece, "more_body": not last})
        self._piece = data
        return last or bool(data)

    async def _begin(self, request: h11.Request) -> None:
        await self.send(Updated(idle=False))
        try:
            head = check_head(request, self.limits, self.server)
        except HttpError as error:
            await self._refuse(error, request)
            return
        self._head, self._blank = b"", 0
        tokens = tokens_of(head.headers, b"connection")
        if any(name == b"transfer-encoding" for name, _ in head.headers):
            self._chunks = ChunkLimits(self.limits.body_bytes, len(self.connection.trailing_data[0]))
        keeps = b"close" not in tokens and request.http_version >= b"1.1"
        messages = MessageQueue(self.config.max_app_queue_size)
        self.stream = stream = RequestStream(self, request, messages, keeps=keeps)
        scope = self._scope(request, head)
        scope["extensions"][CLIENT] = stream
        tasks: Any = self.task_group
        tasks.spawn(self._run, scope, stream)
        self.keep_alive_requests += 1
        await self.context.mark_request()

    async def _run(self, scope: Any, stream: RequestStream) -> None:
        """Run the app for a request. It replaces hypercorn's `TaskGroup.spawn_app`, whose queue takes 3 KiB."""
        try:
            await cast("Any", self.app)(scope, stream.receive, stream.app_send, None, None)
        except Exception:  # noqa: BLE001 -- the app handles its own errors; this is the last resort
            await self.config.log.exception("Error in ASGI Framework")
        finally:
            await stream.app_send(None)

    def _scope(self, request: h11.Request, head: RequestHead) -> Any:
        return {
            "type": "http",
            "http_version": "1.1" if request.http_version >= b"1.1" else "1.0",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": request.method.decode("ascii"),
            "scheme": "https" if self.ssl else "http",
            "path": unquote(head.path.decode("ascii")),
            "raw_path": head.path,
            "query_string": head.query,
            "root_path": self.config.root_path,
            "headers": head.headers,
            "client": self.client,
            "server": self.server,
            "state": self.connection_state.copy(),
            "extensions": {},
        }

    async def _refuse(self, error: HttpError, request: h11.Request = _UNREADABLE) -> None:
        """Answer a request that the app never sees, or whose body is invalid, and close the connection."""
        self._ended = True
        request_id = f"req_{secrets.token_hex(12)}"
        _log.info("request_refused", request=request_id, status=error.status, error=error.code, reason=error.message)
        if self.stream is None:
            self.stream = RequestStream(self, request, MessageQueue(1), keeps=False)
        await self.stream.refuse(error, request_id)

    async def time_out(self) -> bool:
        """Refuse a request whose head is incomplete; return whether there was one."""
        if self._ended or not self._head.strip():
            return False
        await self._refuse(HttpError(408, "request_timeout", "The head of the request did not arrive in time."))
        return True

    def error_body(self, error: HttpError, request: h11.Request) -> bytes:
        """Return the body of the response to a request that is refused."""
        path, _, query = request.target.partition(b"?")
        headers = [(name.lower(), value) for name, value in request.headers.raw_items()]
        scope = {
            "type": "http",
            "method": request.method.decode("ascii"),
            "path": unquote(path.decode("latin-1")),
            "query_string": query,
            "headers": headers,
        }
        return cast("ServerConfig", self.config).error_body(error, scope)

    async def discard_body(self, stream: RequestStream) -> None:
        """Read and drop the rest of the body of `stream`, which has its response ready; then let it conclude."""
        most = 2 * self.limits.body_bytes
        rest = getattr(self._body_reader, "_remaining", 0)  # bytes to come, if the length was declared
        if self.connection.they_are_waiting_for_100_continue or rest > most or self.context.terminated.is_set():
            await stream.conclude(drained=False)
            return
        self._discard = Discard(most, asyncio.get_running_loop().time(), self.stop_discarding)
        timers().of(GRACE_SECONDS).add(self._discard)

    def stop_discarding(self) -> None:
        """Respond now to a request whose body is still being dropped: the time is over, or the process shuts down."""
        if self._discard is not None:
            tasks: Any = self.task_group
            tasks.spawn(partial(self._end_discarding, drained=False))

    async def _end_discarding(self, *, drained: bool) -> None:
        self._stop_discarding()
        if not drained:
            self._linger_seconds = GRACE_SECONDS
        if self.stream is not None:
            await self.stream.conclude(drained=drained)

    def _stop_discarding(self) -> None:
        if self._discard is not None:
            timers().of(GRACE_SECONDS).discard(self._discard)
            self._discard = None

    @property
    def _body_reader(self) -> Any:
        """h11's private reader of the current body: `ContentLengthReader` or `ChunkedReader` (h11/_readers.py)."""
        return cast("Any", self.connection)._reader  # noqa: SLF001 -- h11 has no interface for it

    @property
    def receiving(self) -> bool:
        """Whether a part of the current request has not been received."""
        return self.connection.their_state in _INCOMPLETE

    async def send_continue(self, stream: RequestStream) -> None:
        """Send `100 Continue` to the client of `stream` if it waits for that before it sends the body."""
        if self.stream is stream and self.connection.they_are_waiting_for_100_continue:
            await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))

    def common_headers(self) -> list[bytes]:
        """Return the header lines of every response, such as `date`; they are rendered once per second."""
        second = int(asyncio.get_running_loop().time())
        if second != self._dated:
            self._dated = second
            self._date = [b"%b: %b" % pair for pair in self.config.response_headers("h11")]
        return self._date

    @property
    def last(self) -> bool:
        """Whether the connection has reached its maximum number of requests."""
        return self.keep_alive_requests >= self.config.keep_alive_max_requests

    async def write(self, data: bytes) -> None:
        """Write a part of a response."""
        if data:
            await self.send(RawData(data=data))

    async def _close_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            await stream.close()

    async def finish(self, *, keep_open: bool) -> None:
        """Close the stream after its response; read the next request if the connection stays open."""
        unread = self.receiving or self._surplus
        self._stop_discarding()
        await self._close_stream()
        if keep_open and self.connection.their_state in _OPEN and not self.context.terminated.is_set():
            data, closed = self.connection.trailing_data
            self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
            self._chunks = None
            if data:
                self._receive(data)
            if closed:
                self._receive(b"")
            await self.can_read.set()
            await self.send(Updated(idle=True))
        else:
            self._ended = True
            await self.can_read.set()
            await self.send(Linger(2 * self.limits.body_bytes, self._linger_seconds) if unread else Closed())


def install() -> None:
    """Make hypercorn use these classes for new connections."""
    hypercorn.asyncio.run.WorkerContext = ServerContext  # pyright: ignore[reportPrivateImportUsage]
    hypercorn.asyncio.run.TCPServer = ServerConnection  # pyright: ignore[reportPrivateImportUsage]
    hypercorn.protocol.H11Protocol = ServerProtocol  # pyright: ignore[reportPrivateImportUsage]
