"""Faster HTTP/1.1 connections for hypercorn: h11 parses requests, `Framing` writes responses.

hypercorn 0.18 passes the head of a response, each piece of its body and its end through its layers and h11 one by one,
scans the headers of a request four times, and restarts a task with a timeout around each request. That takes 110 of its
170 µs per request. Requests that ask for another protocol (WebSockets, HTTP/2) take hypercorn's own path.

h11 only parses requests and never sees a response. Each request has a new `h11.Connection`, which starts with the bytes
that the previous one did not use:

    bytes ─ h11.Connection ─ Request, Data, EndOfMessage ─ Protocol ─ messages ─ app
    bytes ─────────────────────────────── Framing ─ Stream ─ messages ─┘

hypercorn has no interface for this. So subclasses of its `TCPServer` (hypercorn/asyncio/tcp_server.py), `WorkerContext`
(asyncio/worker_context.py) and `H11Protocol` (protocol/h11.py) override and call private methods, and `install` puts
them in place of the originals. pyproject.toml bounds hypercorn below the next minor version;
`tests/service/server/test_connection.py` fails where a newer one does not use them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, cast
from urllib.parse import unquote

import h11
import hypercorn.asyncio.run
import hypercorn.protocol
from anyio.lowlevel import RunVar
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import EventWrapper, WorkerContext
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.http_stream import ASGIHTTPState
from hypercorn.utils import UnexpectedMessageError

from protocol.http.disconnect import CLIENT
from protocol.http.timers import Timers
from service.server.framing import Framing, tokens_of

_OPEN = {h11.DONE, h11.MIGHT_SWITCH_PROTOCOL}  # pyright: ignore[reportPrivateImportUsage]
"""States of a client whose request is complete, so that another one may follow."""

_timers: RunVar[Timers] = RunVar("gemini_gateway.connection_timers")


class ReadPaused(Event):
    """Stop reading until the current request is answered: the client has begun to send the next one."""

    def __init__(self, answered: Any, left: Callable[[], None]) -> None:
        """Wait for `answered`; call `left` if the client disconnects first."""
        self.answered, self.left = answered, left


class ServerConnection(TCPServer):
    """A connection. A timer closes it when it is idle for too long; shutdown closes it at once if it is idle."""

    def __init__(self, *arguments: Any) -> None:
        """Take hypercorn's arguments."""
        super().__init__(*arguments)
        self.idle_task: Any = _IdleTimer(self.config.keep_alive_timeout, self._close_idle)

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
            with _watching(self.reader, event.left):
                await event.answered.wait()
        else:
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        terminated = cast("_Terminated", self.context.terminated)
        terminated.connections.add(self)
        try:
            if terminated.is_set():
                self.end()
            await super()._read_data()
        finally:
            terminated.connections.discard(self)
            await self.idle_task.stop()

    async def _close(self) -> None:
        with suppress(OSError):  # the client stopped reading
            await super()._close()

    def end(self) -> None:
        """Close the connection at shutdown if it is idle; otherwise the end of the response closes it."""
        if self.idle_task.running:
            self._close_idle()

    def _close_idle(self) -> None:
        tasks: Any = self._task_group
        tasks.spawn(self._initiate_server_close)


@contextmanager
def _watching(reader: Any, left: Callable[[], None]) -> Generator[None]:
    """Call `left` when the client disconnects while its last bytes are still unread.

    A stream reader itself reports the disconnect only when its buffer is empty.
    """

    def feed_eof() -> None:
        asyncio.StreamReader.feed_eof(reader)
        left()

    def set_exception(error: Exception) -> None:
        asyncio.StreamReader.set_exception(reader, error)
        left()

    if reader._eof or reader.exception() is not None:  # noqa: SLF001 -- `at_eof` is false while the buffer is not empty
        left()
    reader.feed_eof, reader.set_exception = feed_eof, set_exception
    try:
        yield
    finally:
        del reader.feed_eof, reader.set_exception


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


class _IdleTimer:
    """Calls `close` when a connection has been idle for `seconds`; replaces hypercorn's `AsyncioSingleTask`."""

    def __init__(self, seconds: float, close: Callable[[], None]) -> None:
        timers = _timers.get(None)
        if timers is None:
            timers = Timers()
            _timers.set(timers)
        self._seconds, self._close = seconds, close
        self._timer, self._time = timers.of(seconds), asyncio.get_running_loop().time
        self.due: float | None = None
        """When the connection is closed (`protocol.http.timers.Timeout`)."""

    @property
    def running(self) -> bool:
        """Whether the connection is idle."""
        return self.due is not None

    def set_idle(self, *, idle: bool) -> None:
        """Start or stop the timer."""
        if idle:
            self.due = self._time() + self._seconds
            self._timer.add(self)
        else:
            self.due = None
            self._timer.discard(self)

    async def restart(self, _task_group: object, _action: Callable[..., Awaitable[None]]) -> None:
        """Start the timer."""
        self.set_idle(idle=True)

    async def stop(self) -> None:
        """Stop the timer."""
        self.set_idle(idle=False)

    def expire(self) -> None:
        """Close the connection."""
        self._close()


class ServerProtocol(H11Protocol):
    """Handles the requests of a connection, one after the other."""

    def __init__(self, *arguments: Any) -> None:
        """Take hypercorn's arguments."""
        super().__init__(*arguments)
        self.stream: Any = None
        self.keep_alive_requests: int = 0
        self._ended = False
        """Whether reading has ended."""
        self._broken = False
        """Whether the client broke the protocol; nothing more is written then."""
        self._piece = b""
        self._dated = -1
        self._date: list[bytes] = []

    async def handle(self, event: Any) -> None:
        """Handle bytes, or the end of the connection."""
        await super().handle(event)
        if type(event) is Closed:
            self._ended = True
            await self.can_read.set()

    async def _handle_events(self) -> None:
        while not self._ended and not isinstance(self.connection, H11WSConnection):
            if self.connection.they_are_waiting_for_100_continue:
                headers = self.config.response_headers("h11")
                await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=headers))
            try:
                event: Any = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                if self.stream is None or not self.stream.begun:
                    await self._send_error_response(error.error_status_hint)
                self._ended = self._broken = True
                await self.send(Closed())
                return
            if event is h11.PAUSED:
                await self.can_read.clear()
                await self.send(ReadPaused(self.can_read, self._leave))
            elif not await self._take(event):
                return
        if isinstance(self.connection, H11WSConnection):
            await super()._handle_events()

    def _leave(self) -> None:
        """Notify the app that the client disconnected, although it had sent more requests."""
        if self.stream is not None:
            tasks: Any = self.task_group
            tasks.spawn(self.stream.handle, StreamClosed(1))

    async def _take(self, event: Any) -> bool:
        """Pass an event of a request on to the app; return whether more events may be available.

        A piece of a body is kept until the next event, so that the last piece is sent with `more_body: False`.
        """
        if isinstance(event, h11.Request):
            await self._begin(event)
            return True
        last = isinstance(event, h11.EndOfMessage)
        if (last or self._piece) and self.stream is not None:
            await self.stream.app_put({"type": "http.request", "body": self._piece, "more_body": not last})
        self._piece = bytes(event.data) if isinstance(event, h11.Data) else b""
        return last or bool(self._piece)

    async def _begin(self, request: h11.Request) -> None:
        await self.send(Updated(idle=False))
        headers = [(name.lower(), value) for name, value in request.headers.raw_items()]
        tokens = tokens_of(headers, b"connection")
        if b"upgrade" in tokens or request.method == b"PRI":
            await self._check_protocol(request)
            if tokens_of(headers, b"upgrade") == {b"websocket"} and request.method == b"GET":
                await self._create_stream(request)
                return
        keeps = b"close" not in tokens and request.http_version >= b"1.1" and request.method != b"CONNECT"
        self.stream = stream = RequestStream(self, request, keeps=keeps)
        scope = self._scope(request, headers)
        scope["extensions"][CLIENT] = stream
        messages = MessageQueue(self.config.max_app_queue_size)
        stream.app_put = messages.put
        tasks: Any = self.task_group
        tasks.spawn(self._run, scope, messages, stream)
        self.keep_alive_requests += 1
        await self.context.mark_request()

    async def _run(self, scope: Any, messages: "MessageQueue", stream: "RequestStream") -> None:
        """Run the app for a request. It replaces hypercorn's `TaskGroup.spawn_app`, whose queue takes 3 KiB."""
        try:
            await cast("Any", self.app)(scope, messages.get, stream.app_send, None, None)
        except Exception:  # noqa: BLE001 -- the app handles its own errors; this is the last resort
            await self.config.log.exception("Error in ASGI Framework")
        finally:
            await stream.app_send(None)

    def _scope(self, request: h11.Request, headers: list[tuple[bytes, bytes]]) -> Any:
        path, _, query = request.target.partition(b"?")
        return {
            "type": "http",
            "http_version": request.http_version.decode(),
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": request.method.decode("ascii").upper(),
            "scheme": "https" if self.ssl else "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": self.config.root_path,
            "headers": headers,
            "client": self.client,
            "server": self.server,
            "state": self.connection_state.copy(),
            "extensions": {},
        }

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
        """Write a part of a response, unless the client broke the protocol."""
        if data and not self._broken:
            await self.send(RawData(data=data))

    async def finish(self, *, keep_open: bool) -> None:
        """Close the stream after its app has ended; read the next request if the connection stays open."""
        await self._close_stream()
        if keep_open and self.connection.their_state in _OPEN and not self.context.terminated.is_set():
            data, closed = self.connection.trailing_data
            self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
            if data:
                self.connection.receive_data(data)
            if closed:
                self.connection.receive_data(b"")
            await self.can_read.set()
            await self.send(Updated(idle=True))
        else:
            self._ended = True
            await self.can_read.set()
            await self.send(Closed())


class MessageQueue:
    """A queue of ASGI messages for an app, smaller than `asyncio.Queue` with its four deques of 760 bytes."""

    __slots__ = ("_messages", "_most", "_waiting")

    def __init__(self, most: int) -> None:
        """Keep up to `most` messages."""
        self._most = most
        self._messages: list[Any] = []
        self._waiting: list[asyncio.Future[None]] = []

    async def put(self, message: Any) -> None:
        """Append a message; wait while the queue is full."""
        while len(self._messages) >= self._most:
            await self._changed()
        self._messages.append(message)
        self._wake()

    async def get(self) -> Any:
        """Remove and return the first message; wait while there is none."""
        while not self._messages:
            await self._changed()
        message = self._messages.pop(0)
        self._wake()
        return message

    async def _changed(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        finally:
            if waiting in self._waiting:  # it was cancelled
                self._waiting.remove(waiting)

    def _wake(self) -> None:
        """Wake all waiting tasks to check again: the first one may have been cancelled."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()


class RequestStream:
    """One request and its response. Head, body and end of the response are written together where possible.

    The head is sent with the first piece of the body, even an empty one, as ASGI specifies.
    """

    app_put: Callable[[Any], Awaitable[None]]
    """Passes a message to the app."""

    def __init__(self, protocol: ServerProtocol, request: h11.Request, *, keeps: bool) -> None:
        """Respond on `protocol`; `keeps`: the connection stays open for another request."""
        self._protocol, self._request, self._keeps = protocol, request, keeps
        self._state = ASGIHTTPState.REQUEST
        self._framing: Framing | None = None
        self._head = b""
        """The head, until the first piece of the body."""
        self._closed = False
        self._left: Callable[[], None] | None = None

    @property
    def begun(self) -> bool:
        """Whether the response has begun."""
        return self._framing is not None

    async def handle(self, event: Any) -> None:
        """Notify the app that the client disconnected."""
        if isinstance(event, StreamClosed) and not self._closed:
            self._closed = True
            if self._left is not None:
                self._left()
            await self.app_put({"type": "http.disconnect"})

    def set_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the client disconnects (`protocol.http.disconnect.Client`)."""
        self._left = callback
        if self._closed:
            callback()

    def clear_callback(self) -> None:
        """Remove the callback."""
        self._left = None

    async def app_send(self, message: Any) -> None:
        """Send an ASGI message of the response; None: the app has ended."""
        if message is None:
            await self._end()
        elif message["type"] == "http.response.start" and self._state is ASGIHTTPState.REQUEST:
            self._begin(message)
        elif message["type"] == "http.response.body" and self._framing is not None:
            await self._send_body(self._framing, message.get("body", b""), last=not message.get("more_body", False))
        else:
            raise UnexpectedMessageError(self._state, message["type"])

    def _begin(self, message: Any) -> None:
        protocol = self._protocol
        self._framing = Framing(
            message, self._request, protocol.common_headers(), close=not self._keeps or protocol.last
        )
        self._head = self._framing.head
        self._state = ASGIHTTPState.RESPONSE

    async def _send_body(self, framing: Framing, body: bytes, *, last: bool) -> None:
        if self._state is not ASGIHTTPState.RESPONSE:
            raise UnexpectedMessageError(self._state, "http.response.body")
        data = self._head + framing.piece(body)
        if last:
            data += framing.end()
        self._head = b""
        await self._protocol.write(data)
        if last:
            self._state = ASGIHTTPState.CLOSED
            await self._protocol.finish(keep_open=framing.keeps)

    async def _end(self) -> None:
        """Close the connection if the response is incomplete."""
        if self._state is ASGIHTTPState.CLOSED:
            return
        if self._framing is None and not self._closed:
            self._begin({"status": 500, "headers": [(b"content-length", b"0"), (b"connection", b"close")]})
        self._state = ASGIHTTPState.CLOSED
        if not self._closed:
            await self._protocol.write(self._head)
        await self._protocol.finish(keep_open=False)


def install() -> None:
    """Make hypercorn use these classes for new connections."""
    hypercorn.asyncio.run.WorkerContext = ServerContext  # pyright: ignore[reportPrivateImportUsage]
    hypercorn.asyncio.run.TCPServer = ServerConnection  # pyright: ignore[reportPrivateImportUsage]
    hypercorn.protocol.H11Protocol = ServerProtocol  # pyright: ignore[reportPrivateImportUsage]
