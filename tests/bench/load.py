"""The load: connections that send one request after another, and look for a few marks in what comes back.

The gateway gets an OpenAI request; the others get the very same one, since they do not care.
"""

import asyncio
import json
import re
import time
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.bench import answers
from tests.bench.processes import KEY, BenchError

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"\r\n" + answers.LAST_CHUNK
_TAIL = 512
_OPENED_AT_ONCE = 100
_PATIENCE_SECONDS = 20.0


class Ask:
    """A request, ready to be sent, and the marks of its answer."""

    def __init__(self, url, word, *, stream, unit, end):
        body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": word}], "stream": stream}
        data = json.dumps(body).encode()
        address = urlsplit(url)
        path = address.path or "/v1/chat/completions"
        self.host, self.port = address.hostname, address.port
        self.unit, self.end = unit, end
        self.data = (
            f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        ).encode() + data


class Tally:
    """What came back so far."""

    def __init__(self):
        self.answers = self.units = 0
        self.firsts = []
        """Seconds from each request to its first word."""
        self.failure = None
        self.changed = asyncio.Event()


class Span(NamedTuple):
    """What was done in a while."""

    answers: int
    units: int
    seconds: float
    processor: float
    """The processor seconds that it took whoever was asked."""


class Connection(asyncio.Protocol):
    """Asks again as soon as it has its answer, until `more` says no."""

    def __init__(self, ask, tally, more):
        self._ask, self._tally, self._more = ask, tally, more
        self._over = False

    def connection_made(self, transport):
        self._transport = transport
        self._send()

    def connection_lost(self, exc):
        if not self._over:
            self._fail("the connection was closed")

    def close(self):
        self._over = True
        self._transport.abort()

    def _send(self):
        self._tail, self._head, self._first = b"", b"", False
        self._begun, self._left = False, None
        self._sent = time.perf_counter()
        self._transport.write(self._ask.data)

    def data_received(self, data):
        if not self._begun:
            data = self._begin(data)
        if not self._begun or self._over:
            return
        tally, ask = self._tally, self._ask
        if not self._first and answers.FIRST_WORD in data:
            self._first = True
            tally.firsts.append(time.perf_counter() - self._sent)
            tally.changed.set()
        joined = self._tail + data
        if ask.unit is not None:  # from where no whole mark has been counted yet
            tally.units += joined.count(ask.unit, max(0, len(self._tail) - len(ask.unit) + 1))
        self._tail = joined[-_TAIL:]
        if self._left is not None:
            self._left -= len(data)
        if (self._left == 0) if self._left is not None else joined.endswith(_LAST_CHUNK):
            self._done(joined)

    def _begin(self, data):
        """Read the answer's head; return what follows it."""
        self._head += data
        head, found, rest = self._head.partition(_END_OF_HEAD)
        if found:
            self._begun = True
            if not head.startswith(b"HTTP/1.1 200"):
                self._fail(self._head[:300].decode("latin-1"))
            length = _LENGTH.search(head)
            self._left = int(length[1]) if length else None
        return rest

    def _done(self, joined):
        tally = self._tally
        if not self._first or self._ask.end not in joined:
            self._fail(f"an answer is not whole: {joined[-300:]!r}")
            return
        tally.answers += 1
        if self._more(tally):
            self._send()
        else:
            tally.changed.set()

    def _fail(self, reason):
        self._over = True
        self._tally.failure = self._tally.failure or reason
        self._tally.changed.set()


@asynccontextmanager
async def _connected(ask, count, more):
    """Open connections, a hundred at once, each of which asks."""
    tally = Tally()
    loop = asyncio.get_running_loop()
    opened = []
    try:
        for start in range(0, count, _OPENED_AT_ONCE):
            for _ in range(start, min(count, start + _OPENED_AT_ONCE)):
                _, connection = await loop.create_connection(lambda: Connection(ask, tally, more), ask.host, ask.port)
                opened.append(connection)
            await _until(tally, lambda: len(tally.firsts) >= len(opened))
        yield tally
    finally:
        for connection in opened:
            connection.close()


async def _until(tally, true):
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not true():
                _see(tally)
                tally.changed.clear()
                await tally.changed.wait()
    except TimeoutError:
        raise BenchError(f"nothing came for {_PATIENCE_SECONDS:.0f} seconds") from None


def _see(tally):
    if tally.failure:
        raise BenchError(tally.failure)


async def one_by_one(ask, count):
    """Ask `count` times, one after the other; return the tally."""
    async with _connected(ask, 1, lambda tally: tally.answers < count) as tally:
        await _until(tally, lambda: tally.answers >= count)
        return tally


async def steadily(ask, connections, seconds, meter):
    """Keep `connections` busy; after a warm-up, return what a while brought. `meter` reads processor seconds."""
    async with _connected(ask, connections, lambda tally: True) as tally:
        await asyncio.sleep(min(0.3, seconds / 3))
        answered, units, used, begun = tally.answers, tally.units, meter(), time.perf_counter()
        await asyncio.sleep(seconds)
        passed = time.perf_counter() - begun
        _see(tally)
        return Span(tally.answers - answered, tally.units - units, passed, meter() - used)


def held(ask, connections):
    """Open streams that stay open for as long as the context lasts."""
    return _connected(ask, connections, lambda tally: False)
