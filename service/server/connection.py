"""HTTP/1.1 connections of hypercorn that cost less: h11 reads requests, and answers are framed here.

hypercorn 0.18 sends an answer's head, each piece of its body and its end through its layers and h11 one by one, looks
through a request's headers four times, and ends and begins a task with a timeout around each request. Of its 170 µs
per request that takes 110. What it does for requests that ask for another protocol stays as it is.

h11 knows nothing of the answers. It has a new `h11.Connection` for each request, which begins with the bytes that the
last one had left:

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
"""States of a client whose request has come to its end, so that another may follow."""

_timers: RunVar[Timers] = RunVar("gemini_gateway.connection_timers")


class Paused(Event):
    """Nothing is read until the request under way is answered: the next one has begun to arrive."""

    def __init__(self, answered: Any, left: Callable[[], None]) -> None:
        """Wait for `answered`; call `left` if the client leaves before."""
        self.answered, self.left = answered, left


class Connection(TCPServer):
    """A connection, closed by a timer when it is idle for too long, and at once when the process ends."""

    def __init__(self, *arguments: Any) -> None:
        """Take what hypercorn gives."""
        super().__init__(*arguments)
        self.idle_task: Any = _Idle(self.config.keep_alive_timeout, self._close_idle)

    async def run(self) -> None:
        """Serve the connection to its end; then let go of what refers back to it, so that it is freed at once."""
        try:
            await super().run()
        finally:
            vars(self).clear()

    async def protocol_send(self, event: Any) -> None:
        """Write bytes, or do what else the protocol asks for."""
        if type(event) is Updated:
            self.idle_task.change(idle=event.idle)
        elif type(event) is RawData:
            try:
                self.writer.write(event.data)
                await self.writer.drain()
            except (OSError, RuntimeError):  # a client that takes nothing is a TimeoutError
                await self.protocol.handle(Closed())
        elif type(event) is Paused:
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
        with suppress(OSError):  # of a client that has taken nothing for too long
            await super()._close()

    def end(self) -> None:
        """Close the connection at the process's end if it is idle then; a request's answer closes it otherwise."""
        if self.idle_task.running:
            self._close_idle()

    def _close_idle(self) -> None:
        tasks: Any = self._task_group
        tasks.spawn(self._initiate_server_close)


@contextmanager
def _watching(reader: Any, left: Callable[[], None]) -> Generator[None]:
    """Call `left` when a client leaves whose last bytes are not read yet; it is found out once there is room for them.

    A stream reader reports the end only when its buffer is empty.
    """

    def feed_eof() -> None:
        asyncio.StreamReader.feed_eof(reader)
        left()

    def set_exception(error: Exception) -> None:
        asyncio.StreamReader.set_exception(reader, error)
        left()

    if reader._eof or reader.exception() is not None:  # noqa: SLF001 -- `at_eof` is about the buffer too
        left()
    reader.feed_eof, reader.set_exception = feed_eof, set_exception
    try:
        yield
    finally:
        del reader.feed_eof, reader.set_exception


class _Terminated(EventWrapper):
    """The event of the process's end; ends its connections when it is set: none has a task that waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.connections: set[Connection] = set()

    async def set(self) -> None:
        await super().set()
        for one in tuple(self.connections):
            one.end()


class Context(WorkerContext):
    """What the connections of one server share."""

    def __init__(self, max_requests: int | None) -> None:
        """Take what hypercorn gives."""
        super().__init__(max_requests)
        self.terminated = _Terminated()


class _Idle:
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

    def change(self, *, idle: bool) -> None:
        """Take it that the connection is idle from now on, or not."""
        if idle:
            self.due = self._time() + self._seconds
            self._timer.add(self)
        else:
            self.due = None
            self._timer.discard(self)

    async def restart(self, _task_group: object, _action: Callable[..., Awaitable[None]]) -> None:
        """Take it that the connection is idle from now on."""
        self.change(idle=True)

    async def stop(self) -> None:
        """Take it that the connection is not idle."""
        self.change(idle=False)

    def expire(self) -> None:
        """Close the connection."""
        self._close()


class Protocol(H11Protocol):
    """The requests on a connection, one after the other."""

    def __init__(self, *arguments: Any) -> None:
        """Take what hypercorn gives."""
        super().__init__(*arguments)
        self.stream: Any = None
        self.keep_alive_requests: int = 0
        self._ended = False
        """Nothing more is read."""
        self._broken = False
        """The client broke the protocol: nothing more is written."""
        self._piece = b""
        self._dated = -1
        self._date: list[bytes] = []

    async def handle(self, event: Any) -> None:
        """Take bytes, or the connection's end."""
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
                await self._break_off(error.error_status_hint)
                return
            if event is h11.PAUSED:
                await self.can_read.clear()
                await self.send(Paused(self.can_read, self._leave))
            elif not await self._take(event):
                return
        if isinstance(self.connection, H11WSConnection):
            await super()._handle_events()

    def _leave(self) -> None:
        """Tell the app that the client has left, though it sent more requests."""
        if self.stream is not None:
            tasks: Any = self.task_group
            tasks.spawn(self.stream.handle, StreamClosed(1))

    async def _take(self, event: Any) -> bool:
        """Take what has come of a request; say whether more may have come already.

        A piece of a body waits for the next event: the last piece goes with the word that it is the last.
        """
        if isinstance(event, h11.Request):
            await self._begin(event)
            return True
        last = isinstance(event, h11.EndOfMessage)
        if last or self._piece:
            await self._put(self._piece, last=last)
        self._piece = bytes(event.data) if isinstance(event, h11.Data) else b""
        return last or bool(self._piece)

    async def _put(self, body: bytes, *, last: bool) -> None:
        if self.stream is not None:
            await self.stream.app_put({"type": "http.request", "body": body, "more_body": not last})

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
        self.stream = stream = Stream(self, request, keeps=keeps)
        scope = self._scope(request, headers)
        scope["extensions"][CLIENT] = stream
        messages = Messages(self.config.max_app_queue_size)
        stream.app_put = messages.put
        tasks: Any = self.task_group
        tasks.spawn(self._run, scope, messages, stream)
        self.keep_alive_requests += 1
        await self.context.mark_request()

    async def _run(self, scope: Any, messages: "Messages", stream: "Stream") -> None:
        """Run the app for a request; as hypercorn's `TaskGroup.spawn_app`, whose queue takes 3 KiB."""
        try:
            await cast("Any", self.app)(scope, messages.get, stream.app_send, None, None)
        except Exception:  # noqa: BLE001 -- the app's own last resort has failed
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

    def own_headers(self) -> list[bytes]:
        """Return the lines that every answer's head has; they tell the second."""
        second = int(asyncio.get_running_loop().time())
        if second != self._dated:
            self._dated = second
            self._date = [b"%b: %b" % pair for pair in self.config.response_headers("h11")]
        return self._date

    @property
    def last(self) -> bool:
        """Whether the connection has carried as many requests as it may."""
        return self.keep_alive_requests >= self.config.keep_alive_max_requests

    async def write(self, data: bytes) -> None:
        """Write a part of an answer, unless the client broke the protocol."""
        if data and not self._broken:
            await self.send(RawData(data=data))

    async def finish(self, *, keep_open: bool) -> None:
        """Close the stream, whose app is done with it; go on with the next request if the connection may stay open."""
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

    async def _break_off(self, status: int) -> None:
        """End the connection of a client that broke the protocol; tell it so unless an answer has begun."""
        if self.stream is None or not self.stream.begun:
            await self._send_error_response(status)
        self._ended = self._broken = True
        await self.send(Closed())


class Messages:
    """A queue of ASGI messages for an app. An `asyncio.Queue` has four deques of 760 bytes."""

    __slots__ = ("_messages", "_most", "_waiting")

    def __init__(self, most: int) -> None:
        """Hold `most` messages at once."""
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
        """Return the first message and remove it; wait while there is none."""
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
        """Have all waiting tasks look again: one of them may have been cancelled."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()


class Stream:
    """One request. Head, piece and end of its answer are written together as far as they are known.

    The head goes out with the first piece of the body, even an empty one, as ASGI has it.
    """

    app_put: Callable[[Any], Awaitable[None]]
    """Hands a message to the app."""

    def __init__(self, protocol: Protocol, request: h11.Request, *, keeps: bool) -> None:
        """Answer on `protocol`; `keeps`: another request may follow on the connection."""
        self._protocol, self._request, self._keeps = protocol, request, keeps
        self._state = ASGIHTTPState.REQUEST
        self._framing: Framing | None = None
        self._held = b""
        """The head, until the first piece comes."""
        self._closed = False
        self._left: Callable[[], None] | None = None

    @property
    def begun(self) -> bool:
        """Whether an answer has begun."""
        return self._framing is not None

    async def handle(self, event: Any) -> None:
        """Tell the app that the client is gone, or needs nothing more."""
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
        """Call the callback no more."""
        self._left = None

    async def app_send(self, message: Any) -> None:
        """Take an ASGI message of the answer; None: there are no more."""
        if message is None:
            await self._end()
        elif message["type"] == "http.response.start" and self._state is ASGIHTTPState.REQUEST:
            self._begin(message)
        elif message["type"] == "http.response.body" and self._framing is not None:
            await self._go_on(self._framing, message.get("body", b""), last=not message.get("more_body", False))
        else:
            raise UnexpectedMessageError(self._state, message["type"])

    def _begin(self, message: Any) -> None:
        protocol = self._protocol
        self._framing = Framing(message, self._request, protocol.own_headers(), close=not self._keeps or protocol.last)
        self._held = self._framing.head
        self._state = ASGIHTTPState.RESPONSE

    async def _go_on(self, framing: Framing, body: bytes, *, last: bool) -> None:
        if self._state is not ASGIHTTPState.RESPONSE:
            raise UnexpectedMessageError(self._state, "http.response.body")
        data = self._held + framing.piece(body)
        if last:
            data += framing.end()
        self._held = b""
        await self._protocol.write(data)
        if last:
            self._state = ASGIHTTPState.CLOSED
            await self._protocol.finish(keep_open=framing.keeps)

    async def _end(self) -> None:
        """Break the answer off if it is not whole."""
        if self._state is ASGIHTTPState.CLOSED:
            return
        if self._framing is None and not self._closed:
            self._begin({"status": 500, "headers": [(b"content-length", b"0"), (b"connection", b"close")]})
        self._state = ASGIHTTPState.CLOSED
        if not self._closed:
            await self._protocol.write(self._held)
        await self._protocol.finish(keep_open=False)


def install() -> None:
    """Have hypercorn use them for each connection from now on."""
    hypercorn.asyncio.run.WorkerContext = Context  # pyright: ignore[reportPrivateImportUsage]
    hypercorn.asyncio.run.TCPServer = Connection  # pyright: ignore[reportPrivateImportUsage]
    hypercorn.protocol.H11Protocol = Protocol  # pyright: ignore[reportPrivateImportUsage]
