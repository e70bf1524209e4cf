"""What becomes of bugs, over a real socket."""

import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import httpx2 as httpx
import pytest
import structlog
from prometheus_client import CollectorRegistry
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from protocol.http.body import discard_body
from protocol.http.budget import ByteBudget
from protocol.http.context import RequestLimits, context_of
from protocol.http.download import Content, Download
from protocol.http.pixels import PixelPool
from protocol.http.response import WholeResponse
from protocol.http.spool import Spool
from protocol.http.stream import EventStream
from protocol.model import Served, UpstreamModel
from protocol.openai import DIALECT
from protocol.openai.errors import error_response
from service.app import with_middleware
from service.config.schema import ServerSettings, Settings
from service.middleware.dialect_errors import DialectErrors
from service.middleware.load_shedding import OverloadStep
from service.middleware.request_context import Incoming, RequestContextMiddleware, RequestDeps
from service.server.hypercorn import serve_loopback
from service.server.shutdown import Shutdown
from service.telemetry.metrics import Metrics
from tests.clock import ManualClock


async def boom(request):
    raise LookupError("an error's own words, with a secret perhaps")


async def fine(request):
    return PlainTextResponse("fine")


async def answered(request):
    model = UpstreamModel(id="f1", name="3.7 Flash")
    context_of(request.scope).record.note_served(Served(transport="t", account="a", answered=model))
    return PlainTextResponse("fine", 200 if request.url.path == "/answered" else 502)


def links(scope):
    if scope["path"] == "/no-links":
        raise LookupError("before there is a context")


def observing(app, limits=None):
    means = RequestDeps(
        clock=ManualClock(),
        shutdown=Shutdown(),
        limits=limits or RequestLimits(),
        links=links,
        fetch=None,
        jobs=None,
        memory=ByteBudget(),
        spool=Spool(),
        pixels=PixelPool(),
        log_prompts=False,
    )
    return RequestContextMiddleware(app, Metrics(CollectorRegistry(), 100), means, error_response)


PLACES = {"/boom/{id}": boom, "/fine": fine, "/no-links": fine, "/answered": answered, "/refused": answered}


@pytest.fixture
async def client():
    routes = [Route(path, endpoint) for path, endpoint in PLACES.items()]
    settings = Settings(server=ServerSettings(cors_origins=("https://chat.example",)))
    monitor = SimpleNamespace(step=OverloadStep.NOTHING)
    observed = observing(with_middleware(settings, routes, monitor, DialectErrors(DIALECT, [])))
    async with serve_loopback(observed) as url, httpx.AsyncClient(base_url=url) as opened:
        yield opened


async def test_a_bug_is_a_500_in_the_houses_form_with_an_id(client):
    with structlog.testing.capture_logs() as logged:
        response = await client.get("/boom/1", headers={"Origin": "https://chat.example"})
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["access-control-allow-origin"] == "https://chat.example"
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("server_error", "internal_error", None)
    assert "own words" not in json.dumps(error)
    failed, access = logged
    assert (failed["event"], failed["exc_info"]) == ("request_failed", True)
    assert (access["status"], access["error"]) == (500, "internal_error")
    assert failed["request"] == access["request"] == response.headers["x-request-id"]


@pytest.mark.parametrize(("path", "told"), [("/answered", "3.7 Flash"), ("/refused", None), ("/fine", None)])
async def test_the_model_that_answered_is_told_beside_answers_alone(client, path, told):
    response = await client.get(path, headers={"Origin": "https://chat.example"})
    assert response.headers.get("x-gateway-upstream-model") == told
    assert "x-gateway-upstream-model" in response.headers["access-control-expose-headers"]


async def test_a_bug_before_there_is_a_context_is_logged_too(client):
    with structlog.testing.capture_logs() as logged:
        response = await client.get("/no-links")
    assert response.status_code == 500
    assert [(line["event"], line["path"]) for line in logged] == [("request_failed", "/no-links")]
    assert (await client.get("/fine")).text == "fine"


LONG = b"x" * 64_000_000


class Answering:
    """An exchange, its writer, and a piece of media: one long piece, and then nothing more for hours."""

    served, mime, length, finished = Served(transport="t", account="a"), "video/mp4", None, False

    @asynccontextmanager
    async def open(self):
        yield self

    async def __aiter__(self):
        yield LONG
        await anyio.sleep_forever()

    def opened(self):
        return b""

    def event(self, event):
        return event


async def whole():
    return Response(LONG)


ANSWERS = {
    "plain": lambda: Response(LONG),
    "whole": lambda: WholeResponse(whole, error_response),
    "stream": lambda: EventStream(Answering().open(), Answering(), error_response, []),
    "download": lambda: Download(Answering().open(), Content(etag="e"), error_response),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_a_client_that_takes_nothing_is_given_up_whatever_it_is_answered(kind):
    ended, limits = anyio.Event(), RequestLimits(write_timeout_seconds=0.05, heartbeat_seconds=0.01)
    observed = observing(ANSWERS[kind](), limits)

    async def app(scope, receive, send):
        await observed(scope, receive, send)
        ended.set()

    with structlog.testing.capture_logs() as logged, anyio.fail_after(60):
        async with serve_loopback(app) as url:
            async with await anyio.connect_tcp("127.0.0.1", int(url.rpartition(":")[2])) as client:
                await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await ended.wait()
    [line] = [line for line in logged if line["event"] == "request_finished"]
    assert (line["status"], line["error"]) == (499, "client_closed_request")


async def test_an_answer_may_take_long_while_nothing_is_sent():
    async def slow():
        await anyio.sleep(0.2)
        return PlainTextResponse("done")

    observed = observing(WholeResponse(slow, error_response), RequestLimits(write_timeout_seconds=0.05))
    async with serve_loopback(observed) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/")).text == "done"


LENGTH = [(b"content-length", b"10")]
LAST = {"type": "http.response.body", "body": b"", "more_body": False}


class Queue:
    """A server's queue of a few messages: putting waits for room."""

    def __init__(self):
        self.put, self.get = anyio.create_memory_object_stream(2)

    async def receive(self):
        return await self.get.receive()

    async def body(self, *pieces, more=True):
        for piece in pieces:
            await self.put.send({"type": "http.request", "body": piece, "more_body": more})


@pytest.fixture
def queue():
    made = Queue()
    yield made
    made.put.close()
    made.get.close()


@pytest.mark.parametrize(
    ("headers", "ended"),
    [([], True), ([(b"content-length", b"0")], True), (LENGTH, False), ([(b"transfer-encoding", b"chunked")], False)],
)
def test_a_request_without_a_body_has_ended(headers, ended):
    assert Incoming({"headers": headers}, None).ended is ended


async def test_a_body_has_ended_with_its_last_piece_or_the_connection(queue):
    incoming = Incoming({"headers": LENGTH}, queue.receive)
    await queue.body(b"a")
    assert (await incoming.receive())["body"] == b"a"
    assert not incoming.ended
    await queue.body(b"b", more=False)
    await incoming.receive()
    assert incoming.ended
    incoming = Incoming({"headers": LENGTH}, queue.receive)
    await queue.put.send({"type": "http.disconnect"})
    await incoming.receive()
    assert incoming.ended


async def test_a_connection_whose_queue_is_full_can_be_closed(queue):
    incoming = Incoming({"headers": LENGTH}, queue.receive)
    sent = []

    async def send(message):
        await queue.put.send({"type": "http.disconnect"})
        sent.append(message)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.body, *[b"x"] * 20)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(60):
            await incoming.end(send, LAST)
        tasks.cancel_scope.cancel()  # the server reads no more of a connection that it has closed
    assert sent == [LAST]


async def test_a_connection_that_is_gone_is_told_as_such(queue):
    async def send(_):
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await Incoming({"headers": LENGTH}, queue.receive).end(send, LAST)


async def test_a_body_that_has_ended_is_not_waited_for_to_discard_it(queue):
    scope = {"headers": LENGTH}
    incoming = Incoming(scope, queue.receive)
    await queue.body(b"all", more=False)
    await incoming.receive()
    await discard_body(scope, None)  # nothing is received
