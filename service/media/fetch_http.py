"""Sends a GET request and reads its response within budgets, so that no server can make it expensive.

A parser that works in `data_received` handles everything that has arrived in one call, and its caller cannot stop it:
12 MB in one-byte chunks, or 100,000 interim responses, kept the event loop busy for a second (aiohttp 3.14,
`ResponseHandler.data_received` in client_proto.py). h11 returns one event at a time instead. Each is counted, only one
of all fetches parses at a time, and the event loop runs after each event: so it is never late by more than one event.

Example: a body of one-byte chunks ends after 1,000 chunks, plus one for each 512 bytes of content.
"""

from collections.abc import AsyncIterator
from typing import TypeAlias

import anyio
import anyio.abc
import h11
from yarl import URL

_HEADERS = (
    ("User-Agent", "gemini-gateway (image fetcher)"),
    ("Accept", "*/*"),
    ("Accept-Encoding", "identity"),
    ("Connection", "close"),
)
_HEAD_BYTES = 16 * 1024
"""Limit of a head, of a chunk's size line with extensions, and of trailers."""
_MOST_FIELDS = 128
_MOST_INTERIM = 8
"""Limit of responses 1xx before the final one."""
_READ_BYTES = 64 * 1024
_FREE_PIECES = 1000
_BYTES_PER_PIECE = 512
_SILENT_SECONDS = 3.0
"""Limit of silence within a body, and the time from which its rate is measured."""
_LEAST_RATE = 4 * 1024
"""Bytes of a body per second, on average, that a server must send."""

_Event: TypeAlias = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class OverBudget(Exception):
    """The server has sent too many pieces, too many headers, or too slowly."""


class Get:
    """One GET request on a connection of its own."""

    def __init__(self, stream: anyio.abc.ByteStream, turn: anyio.Lock) -> None:
        """Use a new connection; all requests that share `turn` parse one after the other."""
        self._stream, self._turn = stream, turn
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        self._pieces = self._content = 0
        """Events and reads so far, and bytes of content."""

    async def send(self, url: URL) -> h11.Response:
        """Send the request and return the head of the response.

        Raises:
            OverBudget, h11.ProtocolError, OSError, anyio.BrokenResourceError: there is no valid response.

        """
        host = url.raw_host or ""
        fields = [("Host", f"[{host}]" if ":" in host else host), *_HEADERS]
        sent = self._http.send(h11.Request(method="GET", target=url.raw_path_qs, headers=fields))
        await self._stream.send(sent or b"")
        self._http.send(h11.EndOfMessage())
        for _ in range(_MOST_INTERIM + 1):
            event = await self._next(_HEAD_BYTES)
            if isinstance(event, h11.Response) and len(event.headers) <= _MOST_FIELDS:
                return event
            if not isinstance(event, h11.InformationalResponse):
                break
        raise OverBudget

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces.

        Raises:
            OverBudget, h11.ProtocolError, OSError, anyio.BrokenResourceError: the body is not complete.

        """
        begin = anyio.current_time()
        while isinstance(event := await self._next(_READ_BYTES, _SILENT_SECONDS), h11.Data):
            passed = anyio.current_time() - begin
            self._content += len(event.data)
            if passed > _SILENT_SECONDS and self._content < _LEAST_RATE * passed:
                raise OverBudget
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise OverBudget

    async def _next(self, most: int, seconds: float | None = None) -> _Event:
        """Return the next event, reading at most `most` bytes at a time, each within `seconds`."""
        while True:
            async with self._turn:
                event = self._http.next_event()
            self._pieces += 1
            if self._pieces > _FREE_PIECES + self._content // _BYTES_PER_PIECE:
                raise OverBudget
            if event is not h11.NEED_DATA:
                return event
            with anyio.fail_after(seconds):
                try:
                    data = await self._stream.receive(most)
                except anyio.EndOfStream:
                    data = b""
            self._http.receive_data(data)
