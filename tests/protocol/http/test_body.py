import base64
import json
import tracemalloc

import anyio
import anyio.lowlevel
import msgspec
import pytest

from protocol.http.body import decode_body, encode_json, read_body, read_json
from protocol.http.budget import MIB, ByteBudget, Reservation
from protocol.http.context import RequestLimits, context_of
from protocol.http.errors import ClientGone, HttpError
from protocol.http.form import read_form
from protocol.http.spool import Spool
from protocol.model import BadRequest, Saturated
from tests.bodies import request_of


def part(data, more=True):
    return {"type": "http.request", "body": data, "more_body": more}


async def read(connection, **limits):
    connection.context.limits = RequestLimits(**limits)
    return await read_body(connection.scope, connection.receive, connection.context)


async def test_the_pieces_of_a_body_are_joined(connect):
    connection = connect(part(b"a"), part(b""), part(b"b", more=False))
    assert await read(connection) == b"ab"


async def test_a_declared_length_over_the_cap_is_refused_before_reading(connect):
    connection = connect(part(b"x" * 10, more=False), headers=[(b"content-length", b"10")])
    with pytest.raises(HttpError) as caught:
        await read(connection, body_bytes=9)
    assert caught.value.status == 413


async def test_an_undeclared_length_is_refused_at_the_cap(connect):
    connection = connect(part(b"x" * 10), part(b"x" * 10, more=False))
    with pytest.raises(HttpError) as caught:
        await read(connection, body_bytes=9)
    assert caught.value.status == 413


async def test_a_stalled_body_is_408(connect):
    with pytest.raises(HttpError) as caught:
        await read(connect(part(b"x")), body_timeout_seconds=0.01)
    assert caught.value.status == 408


async def test_a_body_interrupted_by_shutdown_is_503(connect):
    connection = connect(part(b"x"))
    async with anyio.create_task_group() as tasks:

        async def close():
            connection.context.closing.set()

        tasks.start_soon(close)
        with pytest.raises(Saturated) as caught:
            await read(connection)
    assert caught.value.code == "shutting_down"


async def test_a_disconnect_while_reading_the_body_is_reported(connect):
    connection = connect(part(b"x"))
    connection.leave()
    with pytest.raises(ClientGone):
        await read(connection)


async def test_an_unknown_coding_is_415(connect):
    connection = connect(headers=[(b"content-encoding", b"compress")])
    with pytest.raises(HttpError) as caught:
        await read(connection)
    assert caught.value.status == 415


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
async def test_an_invalid_field_is_named_in_long_and_short_bodies(body, code, param, padding):
    with pytest.raises(BadRequest) as caught:
        await decode_body(b" " * padding + body, decode)
    assert (caught.value.code, caught.value.param) == (code, param)


async def test_a_long_body_is_decoded_in_a_worker_thread():
    ticked = False

    async def tick():
        nonlocal ticked
        await anyio.lowlevel.checkpoint()
        ticked = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await decode_body(b" " * 3_000_000 + b'{"deep": []}', decode)
        assert ticked


def json_of(text):
    return json.dumps({"url": text}).encode()


def context_with(memory, **more):
    made = request_of("", b"", **more)
    context = context_of(made.scope)
    context.memory = memory
    return context


decode_any = msgspec.json.Decoder().decode


async def test_a_short_body_is_not_counted_in_the_budget():
    memory = ByteBudget(1)
    body = json_of("x" * 60_000)
    context = context_with(memory)
    assert await read_json(request_of("", body, context=context), decode_any) == json.loads(body)
    assert memory.peak == 0


@pytest.mark.parametrize("declared", [True, False])
async def test_a_longer_body_stays_reserved_until_the_end_of_the_request(declared):
    memory = ByteBudget(100 * MIB)
    context = context_with(memory)
    body = json_of("x" * 300_000)
    request = request_of("", body, context=context)
    if not declared:
        request.scope["headers"] = []
    await read_json(request, decode_any)
    assert memory.peak >= 2 * len(body)
    assert memory.used == len(body)
    context.release()
    assert memory.used == 0


@pytest.mark.parametrize("headers", [True, False])
async def test_a_body_is_refused_unread_if_the_budget_is_exhausted(headers):
    memory = ByteBudget(MIB, wait_seconds=0.01)
    other = Reservation(memory)
    await other.raise_to(MIB)
    request = request_of("", json_of("x" * 300_000), context=context_with(memory))
    if not headers:
        request.scope["headers"] = []
    with pytest.raises(Saturated):
        await read_json(request, decode_any)
    assert memory.used == MIB
    other.release()
    with pytest.raises(HttpError) as caught:
        await read_json(request_of("", json_of("x" * 3_000_000), context=context_with(memory)), decode_any)
    assert caught.value.status == 413
    assert memory.used == 0


async def test_a_long_text_reserves_more_as_it_grows():
    memory = ByteBudget(100 * MIB)
    body = json_of("x." * 5_000_000)
    await read_json(request_of("", body, context=context_with(memory)), decode_any)
    assert 2 * len(body) <= memory.peak <= 5 * len(body)
    assert memory.used == len(body)


@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_body_with_files_on_disk_reserves_little(in_memory):
    memory = ByteBudget(100 * MIB)
    context = context_with(memory)
    context.spool = Spool()
    context.spool.in_memory = in_memory
    data = bytes(9_000_000)
    body = json_of("data:a/b;base64," + base64.b64encode(data).decode())
    decoded = await read_json(request_of("", body, context=context), decode_any)
    assert context.long_strings[decoded["url"]].file.whole() == data
    if in_memory:  # files on tmpfs are in memory
        assert memory.used == len(data)
    else:
        assert memory.peak <= 6 * MIB
        assert memory.used == 0
    assert context.spool.used == len(data)
    context.release()
    assert (memory.used, context.spool.used) == (0, 0)


async def test_an_invalid_long_form_is_refused_and_reserves_nothing():
    memory = ByteBudget(100 * MIB)
    context = context_with(memory)
    request = request_of("multipart/form-data; boundary=x", b"no form" * 1_000_000, context=context)
    with pytest.raises(BadRequest):
        await read_form(request)
    assert memory.used == 0


class SlowClient:
    """Sends what the test says, and then nothing more."""

    def __init__(self, *pieces):
        self.pieces, self.stuck = list(pieces), anyio.Event()

    async def receive(self):
        if self.pieces:
            return part(self.pieces.pop(0))
        self.stuck.set()
        return await anyio.Event().wait()


async def test_a_client_that_has_sent_little_reserves_nothing_for_any_declared_length(connect):
    memory, client = ByteBudget(100 * MIB), SlowClient(b"x" * 65_536)
    connection = connect(headers=[(b"content-length", b"20000000")])
    connection.context.memory = memory
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_body, connection.scope, client.receive, connection.context)
        await client.stuck.wait()
        assert memory.peak == 0
        tasks.cancel_scope.cancel()


async def test_a_stalled_client_is_disconnected_when_others_wait(connect, monkeypatch):
    monkeypatch.setattr("protocol.http.budget._SLOW_SECONDS", 0.01)
    monkeypatch.setattr("protocol.http.budget._LOOK_SECONDS", 0.01)
    memory, client, errors = ByteBudget(6 * MIB, wait_seconds=60), SlowClient(b"x" * 70_000), []
    connection = connect(headers=[(b"content-length", b"20000000")])
    connection.context.memory = memory

    async def slow():
        try:
            await read_body(connection.scope, client.receive, connection.context)
        except HttpError as error:
            errors.append((error.status, error.message))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow)
        await client.stuck.wait()
        assert memory.used > 4 * MIB
        await read_json(request_of("", json_of("x" * 1_000_000), context=context_with(memory)), decode_any)
    assert errors == [(408, "The request's body arrives too slowly while other requests wait for memory.")]
    assert not memory.senders


async def test_a_body_in_tiny_pieces_takes_no_more_memory(connect):
    pieces = [part(b"xy") for _ in range(200_000)]
    connection = connect(*pieces, part(b"", more=False))
    tracemalloc.start()
    try:
        assert await read(connection) == b"xy" * 200_000
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [b"[]", b"{}", b'{"":0}', b"1.5"])
async def test_a_body_of_many_small_values_reserves_what_they_take_when_decoded(value):
    memory, body = ByteBudget(500 * MIB), b"[" + b",".join([value] * 300_000) + b"]"
    context = context_with(memory)
    request = request_of("", body, context=context)
    tracemalloc.start()
    try:
        decoded = await read_json(request, decode_any)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(decoded) == 300_000
    assert taken <= memory.peak + 2 * len(body)
    assert memory.used >= taken - 3 * len(body)
    with pytest.raises(HttpError) as caught:
        await read_json(request_of("", body, context=context_with(ByteBudget(8 * MIB))), decode_any)
    assert caught.value.status == 413


def test_a_lone_surrogate_is_escaped_in_json():
    assert encode_json("é😀") == '"é😀"'.encode()
    assert json.loads(encode_json("a\ud83db")) == "a\ud83db"
    assert b"\\ud83d" in encode_json("a\ud83db")
