"""What a server may send to a fetch: counted in events and bytes, whatever the time."""

from itertools import chain, repeat

import anyio
import h11
import pytest
from yarl import URL

from service.media.fetch_http import Get, OverBudget

pytestmark = pytest.mark.anyio
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
MOST_PIECES = 1200
"""Events of a hostile response, at most, with a little content."""
REFUSED = (OverBudget, h11.ProtocolError, TimeoutError)


class Wire:
    """A stream that delivers bytes of an iterator, and counts what is read."""

    def __init__(self, parts):
        self._parts, self._left, self.sent, self.read = iter(parts), b"", b"", 0

    async def send(self, data):
        self.sent += data

    async def receive(self, most):
        while not self._left:
            try:
                self._left = next(self._parts)
            except StopIteration:
                raise anyio.EndOfStream from None
        data, self._left = self._left[:most], self._left[most:]
        self.read += len(data)
        return data


async def got(wire):
    get = Get(wire, anyio.Lock())
    body = bytearray()
    try:
        response = await get.send(URL("http://images.example/a?b=c"))
        async for piece in get.body():
            body += piece
    finally:
        wire.pieces = get._pieces
    return response.status_code, body


ANSWERS = {
    "length": ([OK + b"Content-Length: 5\r\n\r\nhello"], b"hello"),
    "byte by byte": ([bytes([one]) for one in OK + b"Content-Length: 5\r\n\r\nhello"], b"hello"),
    "chunks": ([CHUNKED + b"2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nX: y\r\n\r\n"], b"hello"),
    "until the end": ([OK + b"\r\nhel", b"lo"], b"hello"),
    "http 1.0": ([b"HTTP/1.0 200 OK\r\n\r\nhello"], b"hello"),
    "early hints": ([b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 8 + OK + b"Content-Length: 0\r\n\r\n"], b""),
    "small chunks": ([CHUNKED, *[b"40\r\n" + b"x" * 64 + b"\r\n"] * 400, b"0\r\n\r\n"], b"x" * 25600),
    "many chunks": ([CHUNKED, *[b"1000\r\n" + b"x" * 4096 + b"\r\n"] * 3000, b"0\r\n\r\n"], b"x" * 4096 * 3000),
    "128 fields": ([OK + b"a: b\r\n" * 127 + b"Content-Length: 1\r\n\r\nx"], b"x"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_honest_answer_is_read(name):
    parts, body = ANSWERS[name]
    assert await got(Wire(parts)) == (200, body)


HOSTILE = {
    "one-byte chunks": chain([CHUNKED], repeat(b"1\r\nx\r\n" * 10_000)),
    "one-byte chunks, one by one": chain([CHUNKED], repeat(b"1\r\nx\r\n")),
    "one-byte reads": chain([OK + b"Content-Length: 900000\r\n\r\n"], repeat(b"x")),
    "one-byte reads of a head": chain([OK + b"a: "], repeat(b"x")),
    "100 Continue": repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "102 and 103": repeat(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\na: b\r\n\r\n"),
    "endless fields": chain([OK], repeat(b"a: b\r\n" * 1000)),
    "129 fields": [OK + b"a: b\r\n" * 128 + b"Content-Length: 1\r\n\r\nx"],
    "an endless field": chain([OK + b"a: "], repeat(b"b" * 65536)),
    "an endless status line": chain([b"HTTP/1.1 200 "], repeat(b"O" * 65536)),
    "a long chunk extension": chain([CHUNKED + b"1;"], repeat(b"e" * 65536)),
    "chunk extensions": chain([CHUNKED], repeat(b"1;" + b"e" * 4000 + b"\r\nx\r\n")),
    "an endless chunk size": chain([CHUNKED], repeat(b"0" * 65536)),
    "endless trailers": chain([CHUNKED + b"1\r\nx\r\n0\r\n"], repeat(b"t: u\r\n" * 1000)),
    "a chunk size that overflows": [CHUNKED + b"FFFFFFFFFFFFFFFFFFFFF\r\nx"],
    "a chunk size with a sign": [CHUNKED + b"+1\r\nx\r\n0\r\n\r\n"],
    "two lengths": [OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"],
    "gzip, chunked": [OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"],
    "101": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx"],
    "cut": [OK + b"Content-Length: 9\r\n\r\nx"],
    "cut chunks": [CHUNKED + b"5\r\nhel"],
    "no http": [b"SSH-2.0-OpenSSH_9.6\r\n\r\n"],
    "nothing": [],
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_answer_ends_after_a_bounded_number_of_pieces(name):
    wire = Wire(HOSTILE[name])
    with pytest.raises(REFUSED):
        await got(wire)
    assert wire.pieces <= MOST_PIECES
    assert wire.read <= 5_000_000


async def test_only_one_of_all_fetches_parses_at_a_time_and_the_event_loop_runs_after_each_event():
    turn, turns = anyio.Lock(), []
    answers = [Get(Wire(chain([CHUNKED], repeat(b"1\r\nx\r\n" * 10_000))), turn) for _ in range(3)]

    async def read(get):
        await get.send(URL("http://images.example/"))
        async for _ in get.body():
            turns.append(get)
            if len(turns) >= 300:
                return

    async with anyio.create_task_group() as tasks:
        for get in answers:
            tasks.start_soon(read, get)
    longest = max(len(list(run)) for run in runs(turns))
    assert longest <= 2


def runs(turns):
    """Yield the stretches in which one fetch alone had its turn."""
    run = []
    for get in turns:
        if run and run[-1] is not get:
            yield run
            run = []
        run.append(get)
    yield run


async def test_a_body_that_comes_too_slowly_is_refused(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("service.media.fetch_http.anyio.current_time", lambda: now[0])

    def drip():
        yield OK + b"Content-Length: 900000\r\n\r\n"
        while True:
            now[0] += 0.5
            yield b"x" * 1000

    wire = Wire(drip())
    with pytest.raises(OverBudget):
        await got(wire)
    assert wire.pieces < 20


async def test_the_request_names_the_host_and_closes_the_connection():
    wire = Wire([OK + b"Content-Length: 0\r\n\r\n"])
    await Get(wire, anyio.Lock()).send(URL("https://[2001:db8::1]/a%20b?c=d"))
    head = wire.sent.decode().lower().split("\r\n")
    assert head[0] == "get /a%20b?c=d http/1.1"
    assert {"host: [2001:db8::1]", "accept-encoding: identity", "connection: close"} <= set(head)
