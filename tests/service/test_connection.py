"""Connections as hypercorn makes them of ours, on a socket."""

import anyio
import pytest

from service import connection
from service.server import listen, serving
from service.settings import Server

ASK = b"%b / HTTP/1.1\r\nHost: here\r\n\r\n"


class Wrote:
    """Counts the pieces in which bytes are given to the socket."""

    def __init__(self, monkeypatch):
        self.pieces = []
        send = connection.Connection.protocol_send

        async def noting(server, event):
            data = getattr(event, "data", None)
            self.pieces += [data] if data is not None else []
            await send(server, event)

        monkeypatch.setattr(connection.Connection, "protocol_send", noting)


@pytest.fixture
async def connect():
    """Serve an app; return a client connected to it."""
    async with anyio.create_task_group() as tasks:

        async def connect(app, **settings):
            listening = listen("127.0.0.1", 0, 8)
            port = listening.getsockname()[1]
            stop = anyio.Event()

            async def serve(*, task_status):
                async with serving(app, listening, Server(**settings)):
                    task_status.started()
                    await stop.wait()

            await tasks.start(serve)
            client = await anyio.connect_tcp("127.0.0.1", port)
            opened.append((client, stop))
            return client

        opened = []
        yield connect
        for client, stop in opened:
            await client.aclose()
            stop.set()


def app_of(*messages, before_last=None):
    async def app(scope, _receive, send):
        if scope["type"] != "http":
            raise NotImplementedError  # no lifespan
        for message in messages[:-1]:
            await send(message)
        if before_last is not None:
            await before_last()
        await send(messages[-1])

    return app


def start(*headers, status=200):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def piece(body, *, more=False):
    return {"type": "http.response.body", "body": body, "more_body": more}


async def test_an_answer_that_is_whole_is_written_at_once(connect, monkeypatch):
    wrote = Wrote(monkeypatch)
    client = await connect(app_of(start((b"content-length", b"2")), piece(b"ok")))
    for _ in range(2):
        await client.send(ASK % b"GET")
        assert (await client.receive()).endswith(b"\r\n\r\nok")
    assert len(wrote.pieces) == 2


async def test_the_head_goes_out_with_an_empty_first_piece(connect):
    seen = anyio.Event()
    client = await connect(app_of(start(), piece(b"", more=True), piece(b"late"), before_last=seen.wait))
    await client.send(ASK % b"GET")
    assert (await client.receive()).startswith(b"HTTP/1.1 200 ")
    seen.set()
    assert b"late" in await client.receive()


async def test_the_answer_to_head_has_no_body(connect):
    client = await connect(app_of(start((b"content-length", b"2")), piece(b"ok")))
    for _ in range(2):
        await client.send(ASK % b"HEAD")
        assert (await client.receive()).endswith(b"\r\n\r\n")


async def test_an_idle_connection_is_closed(connect):
    client = await connect(app_of(start((b"content-length", b"2")), piece(b"ok")), keep_alive_seconds=0.1)
    await client.send(ASK % b"GET")
    await client.receive()
    with pytest.raises(anyio.EndOfStream):
        await client.receive()


async def test_an_app_that_ends_before_its_answer_does_ends_the_connection(connect):
    client = await connect(app_of(start((b"content-length", b"9")), piece(b"half", more=True)))
    await client.send(ASK % b"GET")
    assert (await client.receive()).endswith(b"half")
    with pytest.raises(anyio.EndOfStream):
        await client.receive()
