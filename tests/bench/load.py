"""The load: connections that send one request after another, and look for a few marks in what comes back.

No two requests of a run say the same: each body has a number of its own where its text says `NUMBER`. The gateway gets
an OpenAI request; the pass-through gets the very same one, since it does not look at it.
"""

import asyncio
import itertools
import re
import time
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.bench import answers
from tests.bench.processes import KEY, BenchError

NUMBER = "@@@@@@@@@@@@"
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"\r\n" + answers.LAST_CHUNK
_TAIL = 512
_OPENED_AT_ONCE = 100
_PATIENCE_SECONDS = 60.0
_CONNECTIONS = itertools.count(1)
_REQUESTS_OF_ONE = 1_000_000
_REQUEST = (
    "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n{headers}"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)


class Ask:
    """Requests to one address, sent in turn, and the marks of their answers."""

    def __init__(self, url, bodies, *, unit=None, end=b"", method="POST", headers="", word=answers.WORD):
        """`unit` is counted in answers, and `end` stands near their end; `headers` are lines that go with each.

        `word` stands where an answer's content begins.
        """
        address = urlsplit(url)
        self.host, self.port = address.hostname, address.port
        self.unit, self.end, self.word = unit, end, word
        self._templates = [self._template(address, body, method, headers) for body in bodies]

    @staticmethod
    def _template(address, body, method, headers):
        fields = {"method": method, "path": address.path, "host": address.netloc, "key": KEY, "headers": headers}
        return (_REQUEST.format(**fields, length=len(body)).encode() + body).split(NUMBER.encode())

    def data(self, connection, count):
        """Return the bytes of a connection's next request, after `count` others."""
        turn = count % len(self._templates)
        number = connection * _REQUESTS_OF_ONE + count // len(self._templates)
        return (b"%012d" % number).join(self._templates[turn])


class Tally:
    """What came back so far."""

    def __init__(self):
        self.answers = self.units = 0
        self.firsts, self.wholes = [], []
        """Seconds from each request to its first word, and to its end."""
        self.failure = None
        self.changed = asyncio.Event()


class Span(NamedTuple):
    """What was done in a while."""

    answers: int
    units: int
    seconds: float
    processor: float
    """The processor seconds of the process that was asked."""
    firsts: list
    wholes: list


class Connection(asyncio.Protocol):
    """Sends the next request as soon as it has its answer, until `more` returns False."""

    def __init__(self, ask, tally, more):
        self._ask, self._tally, self._more = ask, tally, more
        self._over = False
        self._number, self._count = next(_CONNECTIONS), 0

    def connection_made(self, transport):
        self._transport = transport
        self._send()

    def connection_lost(self, exc):
        if not self._over:
            self._fail("the connection was closed")

    def close(self):
        self._over = True
        self._transport.abort()

    @property
    def waiting(self):
        """Return the seconds since the request; None if its answer has begun."""
        return None if self._first else time.perf_counter() - self._sent

    def _send(self):
        self._tail, self._head, self._first = b"", b"", False
        self._begun, self._left = False, None
        self._sent = time.perf_counter()
        self._transport.write(self._ask.data(self._number, self._count))
        self._count += 1

    def data_received(self, data):
        if not self._begun:
            data = self._begin(data)
        if not self._begun or self._over:
            return
        tally, ask = self._tally, self._ask
        if not self._first and ask.word in data:
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
                self._fail(self._head[:600].decode("latin-1"))
            length = _LENGTH.search(head)
            self._left = int(length[1]) if length else None
        return rest

    def _done(self, joined):
        tally = self._tally
        if not self._first or self._ask.end not in joined:
            self._fail(f"an answer is not whole: {joined[-300:]!r}")
            return
        tally.answers += 1
        tally.wholes.append(time.perf_counter() - self._sent)
        tally.changed.set()
        if self._more(tally):
            self._send()

    def _fail(self, reason):
        self._over = True
        self._tally.failure = self._tally.failure or reason
        self._tally.changed.set()


@asynccontextmanager
async def _connected(ask, count, more):
    """Open connections, a hundred at once, each of which asks."""
    tally, opened = Tally(), []
    try:
        for start in range(0, count, _OPENED_AT_ONCE):
            await _open(ask, tally, more, min(count - start, _OPENED_AT_ONCE), opened)
            await _until(tally, lambda: len(tally.firsts) >= len(opened))
        yield tally
    finally:
        for connection in opened:
            connection.close()


async def _open(ask, tally, more, count, opened):
    loop = asyncio.get_running_loop()
    for _ in range(count):
        _, connection = await loop.create_connection(lambda: Connection(ask, tally, more), ask.host, ask.port)
        opened.append(connection)


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


async def one_by_one(ask, count, meter=lambda: 0.0):
    """Ask `count` times, one after the other."""
    used, begun = meter(), time.perf_counter()
    async with _connected(ask, 1, lambda tally: tally.answers < count) as tally:
        await _until(tally, lambda: tally.answers >= count)
        return _span(tally, time.perf_counter() - begun, meter() - used, Tally())


async def steadily(ask, connections, seconds, meter, least=0):
    """Keep `connections` busy; after a warm-up, return what a while brought. `meter` reads processor seconds.

    The while is longer than `seconds` where a busy machine brings fewer than `least` answers.
    """
    async with _connected(ask, connections, lambda tally: True) as tally:
        await asyncio.sleep(min(0.3, seconds / 3))
        return await _watched(tally, seconds, meter, least)


async def crowd(ask, connections, seconds, meter):
    """Open `connections` evenly within `seconds`, then watch them for as long; those that still wait count too.

    Where no stream began in that time, those that began before it are returned.
    """
    tally, opened = Tally(), []
    try:
        for _ in range(0, connections, 10):
            await _open(ask, tally, lambda tally: True, 10, opened)
            await asyncio.sleep(10 * seconds / connections)
        early = tally.firsts
        span = await _watched(tally, seconds, meter)
        late = [one.waiting for one in opened if one.waiting is not None]
        return span._replace(firsts=[*span.firsts, *late] or early)
    finally:
        for connection in opened:
            connection.close()


async def _watched(tally, seconds, meter, least=0):
    before, used, begun = Tally(), meter(), time.perf_counter()
    before.answers, before.units = tally.answers, tally.units
    tally.firsts, tally.wholes = [], []
    await asyncio.sleep(seconds)
    await _until(tally, lambda: tally.answers - before.answers >= least)
    return _span(tally, time.perf_counter() - begun, meter() - used, before)


def _span(tally, seconds, processor, before):
    answered, units = tally.answers - before.answers, tally.units - before.units
    return Span(answered, units, seconds, processor, tally.firsts, tally.wholes)


def held(ask, connections):
    """Open streams that stay open for as long as the context lasts."""
    return _connected(ask, connections, lambda tally: False)
