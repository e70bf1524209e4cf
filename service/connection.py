"""HTTP/1.1 connections of hypercorn that cost less: two parts of its own are replaced, and its protocol stays.

hypercorn 0.18 ends and begins a task with a timeout around each request, to close idle connections
(`hypercorn.asyncio.tcp_server.TCPServer._idle_timeout`), and sends an answer's head, each piece of its body and its
end through its layers one by one (`hypercorn.protocol.http_stream.HTTPStream.app_send`). Of its 170 µs per request
the two take 60.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import h11
import hypercorn.asyncio.run
import hypercorn.protocol.h11
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import RawData
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.utils import build_and_validate_headers, suppress_body


class Connection(TCPServer):
    """A connection, closed by a timer when it is idle for too long, and at once when the process ends."""

    def __init__(self, *arguments: Any) -> None:
        """Take what hypercorn gives."""
        super().__init__(*arguments)
        self.idle_task: Any = _Idle(self.config.keep_alive_timeout, self._close_idle)

    async def _read_data(self) -> None:
        ending = self.loop.create_task(self._end())
        try:
            await super()._read_data()
        finally:
            ending.cancel()
            await self.idle_task.stop()

    async def _end(self) -> None:
        """Close the connection at the process's end if it is idle then; a request's answer closes it otherwise."""
        await self.context.terminated.wait()
        if self.idle_task.running:
            await self._initiate_server_close()

    def _close_idle(self) -> None:
        tasks: Any = self._task_group
        tasks.spawn(self._initiate_server_close)


class _Idle:
    """Calls `close` when a connection has been idle for so long; in place of hypercorn's `AsyncioSingleTask`."""

    def __init__(self, seconds: float, close: Callable[[], None]) -> None:
        self._seconds, self._close = seconds, close
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether the connection is idle."""
        return self._timer is not None

    async def restart(self, _task_group: object, _action: Callable[..., Awaitable[None]]) -> None:
        """Take it that the connection is idle from now on."""
        await self.stop()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._close)

    async def stop(self) -> None:
        """Take it that the connection is not idle."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Stream(HTTPStream):
    """One request on an HTTP/1.1 connection: head, piece and end of its answer are written together as far as known.

    The head goes out with the first piece of the body, even an empty one, as ASGI has it.
    """

    _held = b""
    """The head, until the first piece comes."""

    async def app_send(self, message: Any) -> None:
        """Take an ASGI message of the answer; None: there are no more."""
        if message is not None and message["type"] == "http.response.start" and self.state is ASGIHTTPState.REQUEST:
            self._begin(message)
        elif message is not None and message["type"] == "http.response.body" and self.state is ASGIHTTPState.RESPONSE:
            await self._go_on(message.get("body", b""), last=not message.get("more_body", False))
        else:
            await self._write(b"")
            await super().app_send(message)

    @property
    def _protocol(self) -> Any:
        """The connection's protocol, which hypercorn gives as its method."""
        return self.send.__self__  # pyright: ignore[reportFunctionMemberAccess]

    def _begin(self, message: Any) -> None:
        self.response = message
        self.state = ASGIHTTPState.RESPONSE
        protocol = self._protocol
        headers = [*build_and_validate_headers(message.get("headers", [])), *self.config.response_headers("h11")]
        if protocol.keep_alive_requests >= self.config.keep_alive_max_requests:
            headers.append((b"connection", b"close"))
        self._held = self._framed(h11.Response(headers=headers, status_code=int(message["status"])))

    async def _go_on(self, body: bytes, *, last: bool) -> None:
        data = b""
        if body and not suppress_body(self.scope["method"], int(self.response["status"])):
            data = self._framed(h11.Data(data=bytes(body)))
        if last:
            data += self._framed(h11.EndOfMessage())
        await self._write(data)
        if last:
            self.state = ASGIHTTPState.CLOSED
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def _write(self, data: bytes) -> None:
        data, self._held = self._held + data, b""
        if data:
            await self._protocol.send(RawData(data=data))

    def _framed(self, event: Any) -> bytes:
        """Return an event's bytes; none for a client that has broken the protocol."""
        connection = self._protocol.connection
        try:
            return connection.send(event) or b""
        except h11.LocalProtocolError:
            if connection.their_state is not h11.ERROR:
                raise
            return b""


def install() -> None:
    """Have hypercorn use them for each connection from now on."""
    hypercorn.asyncio.run.TCPServer = Connection  # pyright: ignore[reportPrivateImportUsage]
    hypercorn.protocol.h11.HTTPStream = Stream  # pyright: ignore[reportPrivateImportUsage]
