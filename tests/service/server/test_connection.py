"""Connections as hypercorn makes them of ours, on a socket."""

from contextlib import suppress

import anyio
import pytest

from protocol.http.disconnect import CLIENT
from service.config.schema import ServerSettings
from service.server import connection, half_closed
from service.server.hypercorn import listen, serving

ASK = b"%b / HTTP/1.1\r\nHost: here\r\n\r\n"


class Wrote:
    """Counts the pieces in which bytes are given to the socket."""

    def __init__(self, monkeypatch):
        self.pieces = []
        send = connection.ServerConnection.protocol_send

        async def noting(server, event):
            data = getattr(event, "data", None)
            self.pieces += [data] if data is not None else []
            await send(server, event)

        monkeypatch.setattr(connection.ServerConnection, "protocol_send", noting)


@pytest.fixture
async def connect():
    """Serve an app; return a client connected to it."""
    async with anyio.create_task_group() as tasks:

        async def connect(app, **settings):
            listening = listen("127.0.0.1", 0, 8)
            port = listening.getsockname()[1]
            stop = anyio.Event()

            async def serve(*, task_status):
                async with serving(app, listening, ServerSettings(**settings)):
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


async def test_a_complete_response_is_written_at_once(connect, monkeypatch):
    wrote = Wrote(monkeypatch)
    client = await connect(app_of(start((b"content-length", b"2")), piece(b"ok")))
    for _ in range(2):
        await client.send(ASK % b"GET")
        assert (await client.receive()).endswith(b"\r\n\r\nok")
    assert len(wrote.pieces) == 2


async def test_an_empty_first_piece_sends_the_response_head(connect):
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


async def test_a_head_that_does_not_arrive_is_408(connect):
    client = await connect(echo, keep_alive_seconds=0.1)
    await client.send(b"GET / HTTP/1.1\r\nHost: he")
    data = await rest(client)
    assert data.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in data
    client = await connect(echo, keep_alive_seconds=0.1)
    await client.send(b"\r\n")
    assert await rest(client) == b""


async def test_an_incomplete_response_closes_the_connection(connect):
    client = await connect(app_of(start((b"content-length", b"9")), piece(b"half", more=True)))
    await client.send(ASK % b"GET")
    assert (await client.receive()).endswith(b"half")
    with pytest.raises(anyio.EndOfStream):
        await client.receive()


async def echo(scope, receive, send):
    """Answer with the path and the pieces of the body."""
    if scope["type"] != "http":
        raise NotImplementedError
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    said = b"%b %b;" % (scope["path"].encode(), body)
    await send(start((b"content-length", b"%d" % len(said))))
    await send(piece(said))


async def read_until(client, end):
    data = b""
    with anyio.fail_after(60):
        while not data.endswith(end):
            data += await client.receive()
    return data


async def rest(client):
    """Return all that comes until the connection is closed."""
    data = b""
    with anyio.fail_after(60):
        try:
            while True:
                data += await client.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return data


async def test_pipelined_requests_are_answered_in_order(connect):
    client = await connect(echo)
    post = b"POST /b HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\nhi"
    await client.send(b"GET /a HTTP/1.1\r\nHost: here\r\n\r\n" + post + b"GET /c HTTP/1.1\r\nHost: here\r\n\r\n")
    data = await read_until(client, b"/c ;")
    assert [part.rpartition(b"\r\n")[2] for part in data.split(b";")[:-1]] == [b"/a ", b"/b hi", b"/c "]


async def test_a_body_is_received_in_pieces_with_either_framing(connect):
    client = await connect(echo)
    await client.send(b"POST /a HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await anyio.wait_all_tasks_blocked()
    await client.send(b"2\r\nde\r\n0\r\n\r\n")
    assert (await read_until(client, b";")).endswith(b"\r\n\r\n/a abcde;")
    await client.send(b"POST /b HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\nab")
    await anyio.wait_all_tasks_blocked()
    await client.send(b"cd")
    assert (await read_until(client, b";")).endswith(b"\r\n\r\n/b abcd;")


async def test_a_client_that_expects_100_continue_receives_it(connect):
    client = await connect(echo)
    for _ in range(2):
        head = b"POST /a HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        await client.send(head)
        assert (await client.receive()).startswith(b"HTTP/1.1 100 ")
        await client.send(b"hi")
        assert (await read_until(client, b";")).endswith(b"/a hi;")


async def test_a_response_of_unknown_length_is_chunked(connect):
    client = await connect(app_of(start(), piece(b"one", more=True), piece(b"", more=True), piece(b"two")))
    for _ in range(2):
        await client.send(ASK % b"GET")
        data = await read_until(client, b"0\r\n\r\n")
        assert b"Transfer-Encoding: chunked\r\n" in data
        assert data.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_an_http_1_0_client_gets_the_body_until_the_connection_closes(connect):
    client = await connect(app_of(start(), piece(b"one", more=True), piece(b"two")))
    await client.send(b"GET / HTTP/1.0\r\nHost: here\r\n\r\n")
    head, _, body = (await rest(client)).partition(b"\r\n\r\n")
    assert (b"chunked" in head, b"connection: close" in head.lower(), body) == (False, True, b"onetwo")


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
async def test_an_answer_without_a_body_leaves_the_connection_usable(connect, method, status):
    client = await connect(app_of(start(status=status), piece(b"dropped")))
    for _ in range(2):
        await client.send(ASK % method)
        data = await client.receive()
        assert data.startswith(b"HTTP/1.1 %d " % status)
        assert data.endswith(b"\r\n\r\n")
        assert (b"chunked" in data) is (status == 200)


@pytest.mark.parametrize("closing", ["client", "app"])
async def test_the_connection_is_closed_if_client_or_app_requests_it(connect, closing):
    headers = [(b"content-length", b"2"), *([(b"connection", b"close")] if closing == "app" else [])]
    client = await connect(app_of(start(*headers), piece(b"ok")))
    ask = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: %b\r\n\r\n"
    await client.send(ask % (b"close" if closing == "client" else b"keep-alive"))
    data = await rest(client)
    assert b"connection: close\r\n" in data.lower()
    assert data.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b"])
async def test_a_header_with_a_line_break_is_not_sent(connect, value):
    client = await connect(app_of(start((b"content-length", b"2"), (b"x-model", value)), piece(b"ok")))
    await client.send(ASK % b"GET")
    data = await rest(client)
    assert data.startswith(b"HTTP/1.1 500 ")
    assert b"x-model" not in data


@pytest.mark.parametrize("body", [b"x", b"xyz"])
async def test_a_response_of_the_wrong_length_closes_the_connection(connect, body):
    client = await connect(app_of(start((b"content-length", b"2")), piece(body)))
    await client.send(ASK % b"GET")
    assert body not in (await rest(client)).partition(b"\r\n\r\n")[2]


async def test_a_protocol_error_is_answered_unless_a_response_has_begun(connect):
    client = await connect(echo)
    await client.send(b"GET / HTTP/9\r\n\r\n")
    data = await rest(client)
    assert data.startswith(b"HTTP/1.1 400 ")
    assert data.count(b"HTTP/1.1 ") == 1

    async def early(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        await send(start())
        await send(piece(b"begun", more=True))
        while (await receive())["type"] != "http.disconnect":
            pass

    client = await connect(early)
    await client.send(b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert (await client.receive()).endswith(b"5\r\nbegun\r\n")
    await client.send(b"no length\r\n")
    assert await rest(client) == b""


async def test_a_half_closed_client_gets_its_response(connect):
    client = await connect(app_of(start((b"content-length", b"2")), piece(b"ok")))
    await client.send(ASK % b"GET")
    await client.send_eof()
    assert (await rest(client)).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Upgrade: other/1",
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ],
)
async def test_an_upgrade_is_ignored_and_the_connection_stays_open(connect, upgrade):
    client = await connect(echo)
    for _ in range(2):
        await client.send(b"GET /a HTTP/1.1\r\nHost: here\r\nConnection: upgrade\r\n%b\r\n\r\n" % upgrade)
        assert (await read_until(client, b";")).endswith(b"\r\n\r\n/a ;")


async def test_a_disconnect_with_a_pipelined_request_is_detected(connect):
    gone = anyio.Event()

    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        await send(start())
        with anyio.fail_after(60):
            while not gone.is_set():
                await send(piece(b"x" * 1_000_000, more=True))
                with anyio.move_on_after(0.01):
                    if (await receive())["type"] == "http.disconnect":
                        gone.set()

    client = await connect(app)
    await client.send(2 * (ASK % b"GET"))
    await client.receive()
    await client.aclose()
    with anyio.fail_after(60):
        await gone.wait()


@pytest.mark.parametrize("behind", [b"", b"\r\n", ASK % b"GET"])
async def test_a_disconnect_is_detected_despite_further_data(connect, behind, monkeypatch):
    monkeypatch.setattr(half_closed, "_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(half_closed, "_RESET_SECONDS", (0.01,))
    begun, left, requests = anyio.Event(), anyio.Event(), []

    async def app(scope, _receive, _send):
        if scope["type"] != "http":
            raise NotImplementedError
        scope["extensions"][CLIENT].set_callback(left.set)
        requests.append(scope["path"])
        begun.set()
        await left.wait()

    client = await connect(app)
    with anyio.fail_after(60):
        await client.send(ASK % b"GET" + behind)
        await begun.wait()
        await client.aclose()
        await left.wait()
    assert requests == ["/"]


async def test_a_half_closed_client_is_not_taken_for_one_that_disconnected(connect, monkeypatch):
    monkeypatch.setattr(half_closed, "_FIRST_SECONDS", 0.0)
    begun, more = anyio.Event(), anyio.Event()

    async def app(scope, _receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        scope["extensions"][CLIENT].set_callback(lambda: pytest.fail("the client has not disconnected"))
        begun.set()
        await more.wait()
        scope["extensions"][CLIENT].clear_callback()
        await send(start((b"content-length", b"2")))
        await send(piece(b"ok"))

    client = await connect(app)
    with anyio.fail_after(60):
        await client.send(ASK % b"GET")
        await client.send_eof()
        await begun.wait()
        assert await client.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
        more.set()
        assert (await rest(client)).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("kind", [b"text/event-stream; charset=utf-8", b"image/png"])
async def test_a_disconnect_from_a_silent_stream_is_detected(connect, monkeypatch, kind):
    monkeypatch.setattr(half_closed, "_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(half_closed, "_RESET_SECONDS", (0.01,))
    begun, left = anyio.Event(), anyio.Event()

    async def app(scope, _receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        scope["extensions"][CLIENT].set_callback(left.set)
        await send(start((b"content-type", kind)))
        await send(piece(b"data: a\n\n", more=True))
        begun.set()
        await left.wait()

    client = await connect(app)
    with anyio.fail_after(60):
        await client.send(ASK % b"GET")
        await client.receive()
        await begun.wait()
        await client.aclose()
        await left.wait()


async def test_pipelined_requests_of_a_half_closed_client_are_answered(connect):
    client = await connect(app_of(start((b"content-length", b"2")), piece(b"ok")))
    await client.send(3 * (ASK % b"GET"))
    await client.send_eof()
    assert (await rest(client)).count(b"\r\n\r\nok") == 3


async def test_an_idle_connection_is_closed_at_shutdown(monkeypatch):
    closed = []
    close = connection.ServerConnection._initiate_server_close

    async def noting(server):
        closed.append(server)
        await close(server)

    monkeypatch.setattr(connection.ServerConnection, "_initiate_server_close", noting)
    listening = listen("127.0.0.1", 0, 8)
    port = listening.getsockname()[1]
    async with serving(
        app_of(start((b"content-length", b"1")), piece(b"x")), listening, ServerSettings(keep_alive_seconds=600)
    ):
        client = await anyio.connect_tcp("127.0.0.1", port)
        await client.send(ASK % b"GET")
        assert (await client.receive()).startswith(b"HTTP/1.1 200")
        assert closed == []
    assert len(closed) == 1
    with pytest.raises(anyio.EndOfStream):
        await client.receive()
    await client.aclose()


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        (
            b"PUT /v1/a%20b?key=c HTTP/1.1\r\nHost: a b\r\nX-Api-Key: d\r\n\r\n",
            ("PUT", "/v1/a b", b"key=c", (b"x-api-key", b"d")),
        ),
        (b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ("POST", "/v1/x", b"")),
        (b"no HTTP\r\n\r\n", ("GET", "/", b"")),
    ],
)
async def test_the_body_of_a_refusal_is_written_by_what_is_known_of_the_request(sent, known):
    scopes = []

    def write(error, scope):
        scopes.append(scope)
        return f"refused {error.code}".encode()

    async def wait(_scope, receive, _send):
        while (await receive())["type"] == "http.request":
            pass

    listening = listen("127.0.0.1", 0, 8)
    port = listening.getsockname()[1]
    async with serving(wait, listening, ServerSettings(), error_body=write):
        client = await anyio.connect_tcp("127.0.0.1", port)
        await client.send(sent)
        received = b""
        with suppress(anyio.EndOfStream):
            while True:
                received += await client.receive()
        await client.aclose()
    assert received.startswith(b"HTTP/1.1 400")
    assert received.endswith(b"refused invalid_request")
    (scope,) = scopes
    assert (scope["method"], scope["path"], scope["query_string"]) == known[:3]
    assert set(known[3:]) <= set(scope["headers"])
