"""One connection to a Redis or Valkey server.

redis-py connects, signs in and encrypts. After that the connection's transport is handed to `_Answers`, a protocol of
asyncio that reads one answer (RESP 2) at a time. A command is then one write, one future, and one callback when the
answer has come; streams, with their locks, tasks and timeouts for each call, are not needed.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from redis.asyncio import Connection, SSLConnection
from redis.exceptions import InvalidResponse, NoScriptError, ResponseError

_NO_SCRIPT = "NOSCRIPT"
_LONGEST_LINE = 64 * 1024

Word = bytes | str | float


class _Short(Exception):
    """An answer is not all there."""

    def __init__(self, size: int) -> None:
        """Say how many bytes there must be at least."""
        super().__init__(size)
        self.size = size


class _Answers(asyncio.Protocol):
    """Reads the answers of one connection."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        """Read what comes from now on."""
        self._transport = transport
        self._buffer = bytearray()
        self._needed = 1
        self._waiting: asyncio.Future[Any] | None = None
        self.open = True

    def ask(self, words: Iterable[Word]) -> asyncio.Future[Any]:
        """Send a command; return its answer, which is an exception where the server says so."""
        self._waiting = asyncio.get_running_loop().create_future()
        if self.open:
            self._transport.write(encode(words))
        else:
            self._end(ConnectionResetError())
        return self._waiting

    def data_received(self, data: bytes) -> None:
        """Take in a part of an answer; what comes unasked ends the connection, or the next call would get it."""
        self._buffer += data
        if len(self._buffer) < self._needed:
            return
        try:
            answer, end = parse(self._buffer, 0)
        except _Short as short:
            self._needed = short.size
        except (InvalidResponse, ValueError):
            self.cut(InvalidResponse())
        else:
            self._answered(answer, end)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits."""
        self._end(exc or EOFError())

    def cut(self, error: Exception) -> None:
        """Close the connection at once, with all that was still to be sent."""
        self._end(error)
        self._transport.abort()

    def _answered(self, answer: Any, end: int) -> None:
        waiting, unasked = self._waiting, end < len(self._buffer)
        self._buffer.clear()
        self._needed, self._waiting = 1, None
        if waiting is None or waiting.done():
            unasked = True
        elif isinstance(answer, ResponseError):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)
        if unasked:
            self.cut(InvalidResponse())

    def _end(self, error: Exception) -> None:
        self.open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


class Line(Connection):
    """A connection that can be cut off, with all that was still to be sent."""

    _answers: _Answers | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is connected and no answer is outstanding."""
        return self._answers is not None and self._answers.open

    async def open(self) -> None:
        """Connect and sign in."""
        await self.connect()
        if self._writer is None:
            raise ConnectionResetError
        transport = self._writer.transport
        self._answers = _Answers(transport)
        transport.set_protocol(self._answers)

    def ask(self, words: Iterable[Word]) -> asyncio.Future[Any]:
        """Send a command and return its answer, one at a time."""
        if self._answers is None:
            raise ConnectionResetError
        return self._answers.ask(words)

    def cut(self, error: Exception | None = None) -> None:
        """Close it at once; a call under way fails with the error."""
        if self._answers is not None:
            self._answers.cut(error or ConnectionResetError())
        elif self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = self._answers = None

    async def disconnect(self, *_: Any, **__: Any) -> None:
        """Do the same whenever redis-py gives it up."""
        self.cut()
        await super().disconnect()


class TlsLine(SSLConnection, Line):
    """The same, encrypted."""


def encode(words: Iterable[Word]) -> bytes:
    """Return a command as it is sent."""
    parts: list[bytes] = []
    for word in words:
        data = word if isinstance(word, bytes) else word.encode() if isinstance(word, str) else repr(word).encode()
        parts += (b"$%d\r\n" % len(data), data, b"\r\n")
    return b"*%d\r\n" % (len(parts) // 3) + b"".join(parts)


def parse(buffer: bytearray, begin: int) -> tuple[Any, int]:
    """Return the answer that begins there, and where it ends; an error of the server's is returned too.

    Raises:
        _Short: it is not all there.
        InvalidResponse: it is no answer.
        ValueError: … or not as long as it says.

    """
    end = buffer.find(b"\r\n", begin, begin + _LONGEST_LINE)
    if end < 0:
        if len(buffer) - begin >= _LONGEST_LINE:
            raise InvalidResponse
        raise _Short(len(buffer) + 1)
    kind, line, rest = bytes(buffer[begin : begin + 1]), bytes(buffer[begin + 1 : end]), end + 2
    match kind:
        case b"$":
            return _bulk(buffer, int(line), rest)
        case b":":
            return int(line), rest
        case b"+":
            return line, rest
        case b"*":
            return _array(buffer, int(line), rest)
        case b"-":
            text = line.decode("utf-8", "replace")
            return NoScriptError(text) if text.startswith(_NO_SCRIPT) else ResponseError(text), rest
        case _:
            raise InvalidResponse


def _bulk(buffer: bytearray, length: int, begin: int) -> tuple[bytes | None, int]:
    if length < 0:
        return None, begin
    end = begin + length
    if len(buffer) < end + 2:
        raise _Short(end + 2)
    return bytes(buffer[begin:end]), end + 2


def _array(buffer: bytearray, count: int, begin: int) -> tuple[list[Any] | None, int]:
    if count < 0:
        return None, begin
    found: list[Any] = []
    for _ in range(count):
        one, begin = parse(buffer, begin)
        found.append(one)
    return found, begin
