import base64
import json

import anyio
import anyio.lowlevel
import pytest

from protocol.http.disconnect import CallbackEvent
from protocol.http.embed import Embedding, PiecesResponse
from protocol.http.spool import Spool

DATA = bytes(range(256)) * 4_000


def stored(data):
    file = Spool().file(10**9)
    file.write(data)
    return file.finish()


async def joined(pieces):
    return b"".join([piece async for piece in pieces])


def embedded(*contents):
    embedding = Embedding()
    return embedding.fill(json.dumps({"data": [{"b64_json": embedding.placeholder(one)} for one in contents]}).encode())


@pytest.mark.parametrize("keep", [bytes, stored], ids=["memory", "disk"])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 3 * 64 * 1024, 3 * 64 * 1024 + 1, len(DATA)])
async def test_files_replace_their_placeholders_and_the_length_is_known_in_advance(keep, length):
    contents = [DATA[:length], b"", DATA[:length][::-1]]
    pieces = embedded(*map(keep, contents))
    body = await joined(pieces)
    assert [base64.b64decode(one["b64_json"]) for one in json.loads(body)["data"]] == contents
    assert pieces.length == len(body)
    assert await joined(pieces) == body


async def test_each_piece_is_short():
    async for piece in embedded(stored(DATA)):
        assert len(piece) <= 256 * 1024


async def test_a_response_in_pieces_has_a_content_length(connect):
    connection = connect()
    await PiecesResponse(embedded(DATA), [(b"warning", b"x")])(connection.scope, connection.receive, connection.send)
    headers = dict(connection.sent[0]["headers"])
    assert headers == {
        b"warning": b"x",
        b"content-length": str(len(connection.body)).encode(),
    }
    assert [message["more_body"] for message in connection.sent[1:]] == [True] * (len(connection.sent) - 2) + [False]


@pytest.mark.parametrize("end", ["client", "process"])
async def test_a_response_in_pieces_stops_at_a_disconnect_or_shutdown(connect, end):
    closing = CallbackEvent()
    connection = connect(closing=closing)

    async def send(message):
        await connection.send(message)
        if len(connection.sent) == 3:
            connection.leave() if end == "client" else closing.set()
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()

    await PiecesResponse(embedded(DATA * 10), [])(connection.scope, connection.receive, send)
    assert len(connection.sent) < 10
    assert connection.sent[-1]["more_body"]
    assert connection.context.record.error == ("client_closed_request" if end == "client" else "shutting_down")
