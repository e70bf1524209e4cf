"""One request of a connection and its response, as messages of ASGI.

A response that is complete before the request's body has been received is held back: the server reads and drops the
rest of the body first, so that a client that sends all before it reads sees the response, and the connection can serve
the next request. If the rest is too long or too slow, the response says `Connection: close`
(`ServerProtocol.discard_body`).
"""

import asyncio
import math
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

import h11

from protocol.http.errors import HttpError
from service.server.framing import Framing

if TYPE_CHECKING:
    from service.server.connection import ServerProtocol

_DISCONNECT = {"type": "http.disconnect"}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_COMMENT = b":\n\n"
"""A comment of server-sent events."""
_EVENTS = (b"content-type", b"text/event-stream")


class _Phase(Enum):
    """How much of its response an app has sent."""

    NOTHING = "not begun"
    BEGUN = "begun"
    ENDED = "ended"


class MessageQueue:
    """A queue of ASGI messages for an app, smaller than `asyncio.Queue` with its four deques of 760 bytes."""

    __slots__ = ("_closed", "_messages", "_most", "_waiting")

    def __init__(self, most: int) -> None:
        """Keep up to `most` messages."""
        self._most: float = most
        self._messages: list[Any] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._closed = False

    async def put(self, message: Any) -> None:
        """Append a message; wait while the queue is full."""
        while len(self._messages) >= self._most:
            await self._changed()
        if not self._closed:
            self._messages.append(message)
            self._wake()

    async def get(self) -> Any:
        """Remove and return the first message; wait while there is none."""
        while not self._messages:
            if self._closed:
                return _DISCONNECT
            await self._changed()
        message = self._messages.pop(0)
        self._wake()
        return message

    def close(self) -> None:
        """Drop all messages, those to come, too: the app has responded. `get` returns a disconnect from now on."""
        self._closed, self._most = True, math.inf
        self._messages.clear()
        self._wake()

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

    def __init__(
        self, protocol: "ServerProtocol", request: h11.Request, messages: MessageQueue, *, keeps: bool
    ) -> None:
        """Respond on `protocol`; `keeps`: the connection stays open for another request."""
        self._protocol, self._request, self._keeps = protocol, request, keeps
        self._messages = messages
        self._phase = _Phase.NOTHING
        self._start: Any = None
        """The message that began the response."""
        self._framing: Framing | None = None
        self._head = b""
        """The head, until the first piece of the body."""
        self._held: bytes | None = None
        """The body, framed, of a complete response that waits for the end of the request."""
        self._written = False
        """Whether a part of the response has been written since the last probe."""
        self._between_events = False
        """Whether the response is a stream of events and the last one has been written to its end."""
        self._refused = False
        """Whether the server itself has responded; the app's messages are dropped then."""
        self._closed = False
        self._left: Callable[[], None] | None = None

    @property
    def begun(self) -> bool:
        """Whether a part of the response has been written."""
        return self._framing is not None and not self._head

    def probe(self) -> bytes | None:
        """Return bytes that a client must ignore at this point of the response.

        None: there are no such bytes, and nothing has been written since the last probe.
        """
        if self._framing is None or self._head:
            return _CONTINUE if self._request.http_version >= b"1.1" else b""
        written, self._written = self._written, False
        if self._between_events:
            return self._framing.piece(_COMMENT)
        return b"" if written else None

    async def receive(self) -> Any:
        """Return the next message for the app; send `100 Continue` first if the client waits for it."""
        await self._protocol.send_continue(self)
        return await self._messages.get()

    async def app_put(self, message: Any) -> None:
        """Pass a message to the app."""
        await self._messages.put(message)

    async def close(self) -> None:
        """Notify the app that the client disconnected, or that its response has been sent."""
        if not self._closed:
            self._closed = True
            if self._left is not None:
                self._left()
            await self.app_put(_DISCONNECT)

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
        if self._refused:
            return
        if message is None:
            await self._end()
        elif message["type"] == "http.response.start" and self._phase is _Phase.NOTHING:
            self._begin(message)
        elif message["type"] == "http.response.body" and self._framing is not None:
            await self._send_body(self._framing, message.get("body", b""), last=not message.get("more_body", False))
        else:
            raise _unexpected(message["type"], self._phase)

    async def refuse(self, error: HttpError, request_id: str) -> None:
        """Respond with an error of the server itself; a response that has begun is cut off."""
        if self._held is not None:
            await self.conclude(drained=False)
            return
        begun, self._refused = self.begun, True
        if not begun:
            body = self._protocol.error_body(error, self._request)
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            headers += [(name, request_id.encode()) for name in (b"x-request-id", b"request-id")]
            headers.append((b"x-should-retry", b"false"))
            framing = self._frame({"status": error.status, "headers": headers}, close=True)
            await self._protocol.write(framing.head + framing.piece(body) + framing.end())
        self._phase = _Phase.ENDED
        await self._protocol.finish(keep_open=False)

    async def conclude(self, *, drained: bool) -> None:
        """Send the response that was held back; `drained`: the request has been received to its end."""
        body, self._held = self._held, None
        if body is None:  # it was sent already
            return
        framing = self._framing if drained and self._framing is not None else self._frame(self._start, close=True)
        await self._protocol.write(framing.head + body)
        await self._protocol.finish(keep_open=framing.keeps)

    def _frame(self, message: Any, *, close: bool) -> Framing:
        return Framing(message, self._request, self._protocol.common_headers(), close=close)

    def _begin(self, message: Any) -> None:
        self._start = message
        self._is_event_stream = any((name, value[: len(_EVENTS[1])]) == _EVENTS for name, value in message["headers"])
        self._framing = self._frame(message, close=not self._keeps or self._protocol.last)
        self._head = self._framing.head
        self._phase = _Phase.BEGUN

    async def _send_body(self, framing: Framing, body: bytes, *, last: bool) -> None:
        if self._phase is not _Phase.BEGUN:
            raise _unexpected("http.response.body", self._phase)
        data = framing.piece(body)
        if last:
            data += framing.end()
            self._phase = _Phase.ENDED
            self._messages.close()
        if self._head and self._protocol.receiving:
            if last:
                self._held = data
                await self._protocol.discard_body(self)
                return
            self._head = self._frame(self._start, close=True).head
            self._keeps = False
        self._between_events = not last and body.endswith(b"\n\n") and self._is_event_stream
        data, self._head = self._head + data, b""
        self._written = True
        await self._protocol.write(data)
        if last:
            await self._protocol.finish(keep_open=framing.keeps and self._keeps)

    async def _end(self) -> None:
        """Close the connection if the response is incomplete."""
        self._messages.close()
        if self._phase is _Phase.ENDED:
            return
        if self._framing is None and not self._closed:
            self._begin({"status": 500, "headers": [(b"content-length", b"0"), (b"connection", b"close")]})
        self._phase = _Phase.ENDED
        if not self._closed:
            await self._protocol.write(self._head)
        await self._protocol.finish(keep_open=False)


def _unexpected(message: str, phase: _Phase) -> RuntimeError:
    return RuntimeError(f"The app sent {message!r} when its response had {phase.value}; see the ASGI specification.")
