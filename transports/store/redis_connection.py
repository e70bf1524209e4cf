"""One connection to a Redis or Valkey server.

redis-py connects, signs in and encrypts. After that the connection's transport is handed to `_Answers`, a protocol of
asyncio: a command is then one write, one future, and one callback when the answer has come. redis-py's streams, with
their locks, tasks and timeouts for each call, are not needed. hiredis, the parser in C that redis-py uses too, packs
commands and reads answers (RESP 2), incrementally: it continues where it stopped when an answer comes in many parts.

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

Word = bytes | str | float

_pack = cast("Callable[[tuple[Word, ...]], bytes]", pack_command)
"""hiredis's stub takes tuples of one word only."""


class _Answers(asyncio.Protocol):
    """Reads the answers of one connection."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        """Read the answers that arrive on `transport` from now on."""
        self._transport = transport
        self._reader = Reader(protocolError=InvalidResponse, replyError=_error_of, notEnoughData=_INCOMPLETE)
        self._received = 0
        """Bytes of the current answer received so far."""
        self._waiting: asyncio.Future[Any] | None = None
        self._several = 0
        """Number of answers that the waiting call collects; 0: a single answer, returned as it is."""
        self._answers: list[Any] = []
        """Answers collected so far for a call that waits for several."""
        self.open = True

    def ask(self, words: tuple[Word, ...]) -> asyncio.Future[Any]:
        """Send a command; return its answer, an exception if the server answered an error."""
        return self._send(_pack(words), 0)

    def ask_all(self, commands: Sequence[tuple[Word, ...]]) -> asyncio.Future[list[Any]]:
        """Send one command or more in one write; return all their answers, errors among them."""
        return self._send(b"".join(map(_pack, commands)), len(commands))

    def _send(self, commands: bytes, several: int) -> asyncio.Future[Any]:
        self._waiting, self._several = asyncio.get_running_loop().create_future(), several
        if self.open:
            self._transport.write(commands)
        else:
            self._end(ConnectionResetError())
        return self._waiting

    def data_received(self, data: bytes) -> None:
        """Parse received data. Unsolicited data closes the connection, or the next call would get a wrong answer."""
        self._received += len(data)
        try:
            self._reader.feed(data)
            answer = self._reader.gets()
            while self._is_one_of_several(answer):
                self._answers.append(answer)
                self._received, answer = 0, self._reader.gets()
        except InvalidResponse as error:
            self.cut(error)
            return
        if answer is not _INCOMPLETE:
            self._answered(answer)
        elif self._received > _LONGEST_ANSWER:
            self.cut(InvalidResponse())

    def _is_one_of_several(self, answer: Any) -> bool:
        """Return whether more answers are to come after this one."""
        return answer is not _INCOMPLETE and len(self._answers) + 1 < self._several

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the waiting call."""
        self._end(exc or EOFError())

    def cut(self, error: Exception) -> None:
        """Close the connection at once, and drop unsent data."""
        self._end(error)
        self._transport.abort()

    def _answered(self, answer: Any) -> None:
        waiting, unasked = self._waiting, self._reader.has_data()
        self._received, self._waiting = 0, None
        if waiting is None or waiting.done():
            unasked = True
        elif self._several:
            waiting.set_result([*self._answers, answer])
        elif isinstance(answer, ResponseError):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)
        self._answers = []
        if unasked:
            self.cut(InvalidResponse())

    def _end(self, error: Exception) -> None:
        self.open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


class Line(Connection):
    """A connection that can be closed at once, without sending what is still buffered."""

    _answers: _Answers | None = None
    _closed_by: Exception | None = None
    """Why it was closed, for a call that goes on after that."""

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self._answers is not None and self._answers.open

    async def open(self) -> None:
        """Connect and sign in."""
        await self.connect()
        if self._writer is None:
            raise ConnectionResetError
        transport = self._writer.transport
        self._answers = _Answers(transport)
        transport.set_protocol(self._answers)

    def ask(self, words: tuple[Word, ...]) -> asyncio.Future[Any]:
        """Send a command and return its answer, one at a time."""
        return self._open_answers().ask(words)

    def ask_all(self, commands: Sequence[tuple[Word, ...]]) -> asyncio.Future[list[Any]]:
        """Send one command or more in one write; return all their answers, errors among them."""
        return self._open_answers().ask_all(commands)

    def _open_answers(self) -> _Answers:
        if self._answers is None:
            raise self._closed_by or ConnectionResetError
        return self._answers

    def cut(self, error: Exception | None = None) -> None:
        """Close the connection at once; a waiting call fails with `error`, and so does the next one."""
        self._closed_by = self._closed_by or error
        if self._answers is not None:
            self._answers.cut(error or ConnectionResetError())
        elif self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = self._answers = None

    async def disconnect(self, *_: Any, **__: Any) -> None:
        """Close the connection at once, also when redis-py disconnects it."""
        self.cut()
        await super().disconnect()


class TlsLine(SSLConnection, Line):
    """A `Line` over TLS."""


def _error_of(text: str) -> ResponseError:
    """Return the exception for an error answer of the server."""
    return NoScriptError(text) if text.startswith(_NO_SCRIPT) else ResponseError(text)
