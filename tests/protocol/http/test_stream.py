import base64
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
from starlette.responses import Response

from protocol.http.context import RequestLimits
from protocol.http.embed import Embedding
from protocol.http.stream import EventStream, StreamFraming
from protocol.model import (
    Caller,
    Catalogue,
    Finish,
    GenerationRequest,
    Role,
    Served,
    Text,
    TextPart,
    Turn,
    UpstreamFailed,
    UpstreamModel,
    Usage,
    Waiting,
)

FINISH = Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=1))


class Exchange:
    """An exchange that does what the test says, and notes when it is closed."""

    def __init__(self, *script, refusal=None, wait=None):
        self.script, self.refusal, self.wait = script, refusal, wait
        self.served = Served(transport="t", account="a")
        self.closed = False

    @asynccontextmanager
    async def open(self):
        if self.wait is not None:
            await self.wait.wait()
        if self.refusal is not None:
            raise self.refusal
        try:
            yield self
        finally:
            self.closed = True

    async def __aiter__(self):
        for step in self.script:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, anyio.Event):
                await step.wait()
                continue
            yield step


REQUEST = GenerationRequest(
    id="r",
    caller=Caller(id="me"),
    selection=Catalogue.build().resolve("gemini-3-pro"),
    turns=(Turn(role=Role.USER, parts=(TextPart(text="ten words."),)),),
)


class Writer:
    def __init__(self):
        self.finished = False

    def opened(self):
        return b"open;"

    def event(self, event):
        self.finished = isinstance(event, Finish)
        return b"end;" if self.finished else event.text.encode() if isinstance(event, Text) else b""

    def error(self, error):
        return f"error {error.code};".encode()


def refuse(error):
    return Response(error.code, 418)


async def respond(connection, exchange):
    await EventStream(exchange.open(), Writer(), refuse, [(b"x-more", b"1")])(
        connection.scope,
        connection.receive,
        connection.send,
    )


async def test_an_answer_is_streamed_and_closed(connect):
    connection, exchange = connect(), Exchange(Waiting(), Text(text="hi;"), FINISH)
    await respond(connection, exchange)
    assert connection.status == 200
    assert (b"x-more", b"1") in connection.sent[0]["headers"]
    assert connection.body == b"open;hi;end;"
    assert connection.sent[-1]["more_body"] is False
    assert exchange.closed
    assert connection.context.record.first_token is not None
    assert connection.context.record.error is None


async def test_the_first_and_the_last_event_take_one_message_each(connect):
    connection, more = connect(), anyio.Event()
    exchange = Exchange(Text(text="hi;"), FINISH, more, UpstreamFailed("x", code="upstream_reset"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(respond, connection, exchange)
        await anyio.wait_all_tasks_blocked()
        assert [message.get("body") for message in connection.sent] == [None, b"open;hi;", b"end;"]
        assert connection.sent[-1]["more_body"] is False
        assert not exchange.closed  # what comes behind the answer is taken all the same
        more.set()
    assert exchange.closed
    assert len(connection.sent) == 3
    assert connection.context.record.error is None


async def test_a_stream_without_early_events_is_opened_by_the_first_heartbeat(connect):
    connection = connect()
    await respond(connection, Exchange(Waiting()))
    assert connection.body == b"open;"
    assert connection.sent[-1]["more_body"] is False


async def test_a_refusal_before_the_first_event_is_a_status(connect):
    connection = connect()
    await respond(connection, Exchange(refusal=UpstreamFailed("x", code="upstream_reset")))
    assert (connection.status, connection.body) == (418, b"upstream_reset")
    assert connection.context.record.error == "upstream_reset"


async def test_an_error_after_the_first_event_is_in_the_stream(connect):
    connection, exchange = connect(), Exchange(Text(text="hi;"), UpstreamFailed("x", code="upstream_reset"))
    await respond(connection, exchange)
    assert connection.body == b"open;hi;error upstream_reset;"
    assert exchange.closed


async def test_an_unexpected_exception_ends_the_stream_with_an_error(connect):
    connection, exchange = connect(), Exchange(Text(text="hi;"), ZeroDivisionError("secret words"))
    await respond(connection, exchange)
    assert connection.body == b"open;hi;error internal_error;"
    assert connection.context.record.error == "internal_error"


async def test_silence_before_the_first_event_commits_to_a_stream(connect):
    connection = connect(limits=RequestLimits(heartbeat_seconds=0.01))
    ready = anyio.Event()
    exchange = Exchange(refusal=UpstreamFailed("x", code="upstream_reset"), wait=ready)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(respond, connection, exchange)
        while b": keep-alive\n\n" not in connection.body:
            await anyio.lowlevel.checkpoint()
        ready.set()
    assert connection.status == 200
    assert connection.body.endswith(b"error upstream_reset;")


async def test_a_framing_sets_the_media_type_and_the_heartbeat(connect):
    connection, ready = connect(limits=RequestLimits(heartbeat_seconds=0.01)), anyio.Event()
    exchange, framing = Exchange(ready, FINISH), StreamFraming(media_type=b"application/json", heartbeat=b"\n")
    stream = EventStream(exchange.open(), Writer(), refuse, [], framing)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream, connection.scope, connection.receive, connection.send)
        while b"\n" not in connection.body:
            await anyio.lowlevel.checkpoint()
        ready.set()
    assert (b"content-type", b"application/json") in connection.sent[0]["headers"]
    assert connection.body.replace(b"\n", b"") == b"open;end;"


async def test_a_piece_waits_for_the_comment_that_is_being_sent(connect):
    connection, taken, ready = connect(limits=RequestLimits(heartbeat_seconds=0.01)), anyio.Event(), anyio.Event()
    taking, send = [], connection.send

    async def slowly(message):
        taking.append(message.get("body", b""))
        if message.get("body", b"").startswith(b":"):
            await taken.wait()
        await send(message)

    connection.send = slowly
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(respond, connection, Exchange(Text(text="lo;"), ready, Text(text="hi;"), FINISH))
        while b": keep-alive\n\n" not in taking:
            await anyio.lowlevel.checkpoint()
        ready.set()
        await anyio.wait_all_tasks_blocked()
        assert taking[-1] == b": keep-alive\n\n"
        taken.set()
    assert connection.body.endswith(b": keep-alive\n\nhi;end;")


async def test_no_comment_is_sent_into_a_piece_nor_after_the_end(connect):
    connection, taken = connect(limits=RequestLimits(heartbeat_seconds=0.005)), anyio.Event()
    send, looks = connection.send, []

    async def slowly(message):
        if message.get("body") == b"hi;":
            while len(looks) < 3:
                await anyio.sleep(0.005)
                looks.append(connection.body)
            taken.set()
        await send(message)

    connection.send = slowly
    await respond(connection, Exchange(Text(text="lo;"), Text(text="hi;"), FINISH))
    assert taken.is_set()
    assert looks == [b"open;lo;"] * 3
    whole = connection.body
    await anyio.sleep(0.02)
    assert connection.body == whole == b"open;lo;hi;end;"


async def test_a_disconnect_closes_the_exchange_at_once(connect):
    connection, exchange = connect(), Exchange(Text(text="hi;"), Text(text="lo;"), anyio.Event())
    connection.context.request = REQUEST
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(respond, connection, exchange)
        while b"lo;" not in connection.body:
            await anyio.lowlevel.checkpoint()
        connection.leave()
    assert exchange.closed
    record = connection.context.record
    assert (record.input_tokens, record.output_tokens) == (2, 2)
    assert connection.context.record.error == "client_closed_request"
    assert connection.sent[-1].get("more_body") is True


async def test_shutdown_ends_the_stream_with_an_error(connect):
    connection, exchange = connect(), Exchange(Text(text="hi;"), anyio.Event())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(respond, connection, exchange)
        while b"hi;" not in connection.body:
            await anyio.lowlevel.checkpoint()
        connection.closing.set()
    assert connection.body == b"open;hi;error shutting_down;"
    assert exchange.closed


async def test_the_serving_model_is_recorded_at_the_beginning_and_at_the_end(connect):
    connection, exchange = connect(), Exchange(Text(text="hi;"), FINISH)
    seen = []

    class Watching(Writer):
        def opened(self):
            seen.append(connection.context.record.upstream_model)
            return b""

        def event(self, event):
            model = UpstreamModel(id="f1", name="3.7 Flash")
            exchange.served = Served(transport="t", account="a", answered=model)
            return super().event(event)

    stream = EventStream(exchange.open(), Watching(), refuse, [])
    await stream(connection.scope, connection.receive, connection.send)
    record = connection.context.record
    assert (seen, record.upstream_model, record.upstream_model_id) == ([None], "3.7 Flash", "f1")


async def test_no_comment_comes_between_the_pieces_of_one_event(connect):
    connection = connect(limits=RequestLimits(heartbeat_seconds=0.01))
    embedding = Embedding()
    data = bytes(1_000_000)
    exchange = Exchange(Text(text=embedding.placeholder(data)), FINISH)

    class Pictures(Writer):
        def event(self, event):
            return embedding.fill(super().event(event)) if isinstance(event, Text) else super().event(event)

    async def send(message):
        await anyio.sleep(0.03)  # the client is slow: a comment is due with each piece
        await connection.send(message)

    await EventStream(exchange.open(), Pictures(), refuse, [])(connection.scope, connection.receive, send)
    assert base64.b64encode(data) in connection.body
    assert b"keep-alive" not in connection.body.partition(b"end;")[0]
