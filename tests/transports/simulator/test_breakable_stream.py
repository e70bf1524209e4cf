from collections import Counter
from contextlib import contextmanager

import anyio
import pytest

from transports.simulator.breakable_stream import BreakableStream


class Client:
    """The client's side of an ASGI response."""

    def __init__(self):
        self.sent, self.left = [], anyio.Event()

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent)


async def chunks(*pieces):
    for piece in pieces:
        if isinstance(piece, anyio.Event):
            await piece.wait()
        else:
            yield piece


async def run(client, *pieces):
    """Send the chunks; return the counts, and whether the answer was reported as whole."""
    seen, whole = Counter(), []
    await BreakableStream(chunks(*pieces), seen, lambda: whole.append(True))({}, client.receive, client.send)
    return {name: count for name, count in seen.items() if count}, bool(whole)


async def test_a_whole_answer_is_sent_and_counted():
    client = Client()
    assert await run(client, b"one ", b"two") == ({"streams_whole": 1}, True)
    assert client.body == b"one two"
    assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_truncated_answer_has_no_end():
    client = Client()
    assert await run(client, b"one ", None, b"two") == ({"streams_cut": 1}, False)
    assert client.sent[-1]["more_body"]


async def test_an_answer_stops_when_its_client_disconnects():
    client = Client()
    client.left.set()
    with anyio.fail_after(5):
        assert await run(client, anyio.Event(), b"never") == ({"streams_left": 1}, False)


async def test_the_context_of_a_stream_is_open_while_it_is_sent():
    states = []

    @contextmanager
    def noting():
        states.append("open")
        yield
        states.append("closed")

    stream = BreakableStream(chunks(b"x"), Counter(), lambda: states.append("whole"))
    stream.while_open = noting()
    client = Client()
    await stream({}, client.receive, client.send)
    assert states == ["open", "whole", "closed"]


@pytest.mark.parametrize("name", ["content-type", "x-more"])
async def test_its_headers_are_sent(name):
    stream = BreakableStream(chunks(b"x"), Counter(), lambda: None)
    stream.headers |= {"x-more": "yes"}
    client = Client()
    await stream({}, client.receive, client.send)
    assert name.encode() in dict(client.sent[0]["headers"])
