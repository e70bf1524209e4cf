import anyio
import anyio.lowlevel
import msgspec
import pytest

from protocol.http.body import UNREAD, decode_body, read_body
from protocol.http.context import Limits
from protocol.http.faults import ClientGone, HttpFault
from protocol.model import BadRequest


def part(data, more=True):
    return {"type": "http.request", "body": data, "more_body": more}


async def read(connection, **limits):
    connection.context.limits = Limits(**limits)
    return await read_body(connection.scope, connection.receive, connection.context)


async def test_the_pieces_are_put_together(connect):
    connection = connect(part(b"a"), part(b""), part(b"b", more=False))
    assert await read(connection) == b"ab"
    assert UNREAD not in connection.scope


async def test_a_declared_length_over_the_cap_is_refused_before_reading(connect):
    connection = connect(part(b"x" * 10, more=False), headers=[(b"content-length", b"10")])
    with pytest.raises(HttpFault) as caught:
        await read(connection, body_bytes=9)
    assert caught.value.status == 413
    assert connection.scope[UNREAD]


async def test_an_undeclared_length_is_refused_at_the_cap(connect):
    connection = connect(part(b"x" * 10), part(b"x" * 10, more=False))
    with pytest.raises(HttpFault) as caught:
        await read(connection, body_bytes=9)
    assert caught.value.status == 413
    assert connection.scope[UNREAD]


async def test_a_body_that_stops_coming_is_408(connect):
    with pytest.raises(HttpFault) as caught:
        await read(connect(part(b"x")), body_seconds=0.01)
    assert caught.value.status == 408


async def test_a_client_that_leaves_is_gone(connect):
    connection = connect(part(b"x"))
    connection.leave()
    with pytest.raises(ClientGone):
        await read(connection)


async def test_a_compressed_body_is_415(connect):
    connection = connect(headers=[(b"content-encoding", b"GZIP")])
    with pytest.raises(HttpFault) as caught:
        await read(connection)
    assert caught.value.status == 415
    assert connection.scope[UNREAD]


class Shape(msgspec.Struct):
    deep: list[dict[str, int]]


decode = msgspec.json.Decoder(Shape).decode


@pytest.mark.parametrize("padding", [0, 2 * 1024 * 1024])
@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b'{"deep": [{"a": "x"}]}', "invalid_value", "deep[0][...]"),
        (b"{}", "invalid_value", "deep"),
        (b'{"deep": [{"\xff": 1}]}', "invalid_utf8", None),
        (b'{"more": ' + b"[" * 200_000, "invalid_json", None),
    ],
    ids=["syntax", "type", "missing", "utf-8", "nesting"],
)
async def test_errors_are_named_for_long_and_short_bodies(body, code, param, padding):
    with pytest.raises(BadRequest) as caught:
        await decode_body(b" " * padding + body, decode)
    assert (caught.value.code, caught.value.param) == (code, param)


async def test_a_long_body_is_decoded_beside_the_loop():
    ticked = False

    async def tick():
        nonlocal ticked
        await anyio.lowlevel.checkpoint()
        ticked = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await decode_body(b" " * 3_000_000 + b'{"deep": []}', decode)
        assert ticked
