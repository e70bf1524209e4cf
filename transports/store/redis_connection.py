"""One connection to a Redis or Valkey server.

redis-py connects, authenticates and encrypts. Then the connection's transport is handed to `_AnswerReader`, an asyncio
protocol: a command costs one write, one future, and one callback when the answer has arrived. redis-py's streams, with
a lock, a task and a timeout for each call, are bypassed. hiredis, the C parser that redis-py uses too, packs commands
and reads answers (RESP 2) incrementally: when an answer arrives in several parts, it continues where it stopped.

Example: `send("GET", "a")` writes `*2 $3 GET $1 a`. The server's `$5 hel` leaves the future pending; with the rest,
`lo`, the future completes with `b"hello"`. Data without a waiting call closes the connection.

redis-py has no public way to its transport: `Connection._reader` and `_writer` (redis/asyncio/connection.py) are read
here, which `tests/transports/store/test_redis_connection.py` would notice if they changed.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from hiredis import Reader, pack_command  # pyright: ignore[reportUnknownVariableType]
from redis.asyncio import Connection, SSLConnection
from redis.exceptions import InvalidResponse, NoScriptError, ResponseError

_NO_SCRIPT = "NOSCRIPT"
_LONGEST_ANSWER = 512 * 1024 * 1024
"""Bytes; as `proto-max-bulk-len` of servers."""
_INCOMPLETE = object()

RedisArgument = bytes | str | float

_pack = cast("Callable[[tuple[RedisArgument, ...]], bytes]", pack_command)
"""hiredis's stub accepts tuples of one argument only."""


class _AnswerReader(asyncio.Protocol):
    """Sends commands and reads their answers on one transport, for one call at a time."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        """Read the answers that arrive on `transport` from now on."""
        self._transport = transport
        self._reader = Reader(
            protocolError=InvalidResponse,
            replyError=lambda text: NoScriptError(text) if text.startswith(_NO_SCRIPT) else ResponseError(text),
            notEnoughData=_INCOMPLETE,
        )
        self._received = 0
        """Bytes of the current answer received so far."""
        self._waiting: asyncio.Future[Any] | None = None
        self._expected = 0
        """Number of answers that the waiting call collects; 0: a single answer, returned as it is."""
        self._answers: list[Any] = []
        """Answers collected so far for a call that waits for several."""
        self.open = True

    def send(self, commands: Sequence[tuple[RedisArgument, ...]], expected: int) -> asyncio.Future[Any]:
        """Send commands in one write; return a list of the `expected` answers, or with 0 the answer of one command."""
        data = b"".join(map(_pack, commands))
        self._waiting, self._expected = asyncio.get_running_loop().create_future(), expected
        if self.open:
            self._transport.write(data)
        else:
            self._end(ConnectionResetError())
        return self._waiting

    def data_received(self, data: bytes) -> None:
        """Parse received data. Unsolicited data closes the connection, or the next call would get a wrong answer."""
        self._received += len(data)
        try:
            self._reader.feed(data)
            answer = self._reader.gets()
            while answer is not _INCOMPLETE and len(self._answers) + 1 < self._expected:
                self._answers.append(answer)
                self._received, answer = 0, self._reader.gets()
        except InvalidResponse as error:
            self.abort(error)
            return
        if answer is not _INCOMPLETE:
            self._finish(answer)
        elif self._received > _LONGEST_ANSWER:
            self.abort(InvalidResponse())

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the waiting call."""
        self._end(exc or EOFError())

    def abort(self, error: Exception) -> None:
        """Close the connection at once, and drop unsent data."""
        self._end(error)
        self._transport.abort()

    def _finish(self, answer: Any) -> None:
        """Complete the waiting call with its last answer."""
        waiting, unsolicited = self._waiting, self._reader.has_data()
        self._received, self._waiting = 0, None
        if waiting is None or waiting.done():
            unsolicited = True
        elif self._expected:
            waiting.set_result([*self._answers, answer])
        elif isinstance(answer, ResponseError):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)
        self._answers = []
        if unsolicited:
            self.abort(InvalidResponse())

    def _end(self, error: Exception) -> None:
        self.open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


class RedisConnection(Connection):
    """A connection that can be closed at once, without sending what is still buffered."""

    _answer_reader: _AnswerReader | None = None
    _closed_by: Exception | None = None
    """Why it was closed, for a call that still uses it."""

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self._answer_reader is not None and self._answer_reader.open

    async def open(self) -> None:
        """Connect and sign in."""
        await self.connect()
        if self._writer is None:
            raise ConnectionResetError
        transport = self._writer.transport
        self._answer_reader = _AnswerReader(transport)
        transport.set_protocol(self._answer_reader)

    def send(self, *command: RedisArgument) -> asyncio.Future[Any]:
        """Send a command and return its answer; an exception if the server answered an error. One call at a time."""
        return self._open_reader().send((command,), 0)

    def send_all(self, commands: Sequence[tuple[RedisArgument, ...]]) -> asyncio.Future[list[Any]]:
        """Send one command or more in one write; return all their answers, errors among them."""
        return self._open_reader().send(commands, len(commands))

    def _open_reader(self) -> _AnswerReader:
        if self._answer_reader is None:
            raise self._closed_by or ConnectionResetError
        return self._answer_reader

    def abort(self, error: Exception | None = None) -> None:
        """Close the connection at once; a waiting call fails with `error`, and so does the next one."""
        self._closed_by = self._closed_by or error
        if self._answer_reader is not None:
            self._answer_reader.abort(error or ConnectionResetError())
        elif self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = self._answer_reader = None

    async def disconnect(self, *_: Any, **__: Any) -> None:
        """Close the connection at once, also when redis-py disconnects it."""
        self.abort()
        await super().disconnect()


class TlsRedisConnection(SSLConnection, RedisConnection):
    """A `RedisConnection` over TLS."""
