"""Error responses, stalled clients and request bodies, over a real socket."""

from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import httpx2 as httpx
import pytest
import structlog
from prometheus_client import CollectorRegistry
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from protocol.http.context import RequestLimits, context_of
from protocol.http.download import Content, Download
from protocol.http.response import WholeResponse
from protocol.http.stream import EventStream
from protocol.model import Served, UpstreamModel
from protocol.openai import DIALECT
from protocol.openai.errors import error_response
from service.middleware.request_context import RequestContextMiddleware
from service.middleware.routing import RequestRouter
from service.server.hypercorn import serve_loopback
from service.telemetry.metrics import Metrics
from tests.service.conftest import request_deps


async def fine(request):
    return PlainTextResponse("fine")


async def answered(request):
    model = UpstreamModel(id="f1", name="3.7 Flash")
    context_of(request.scope).record.note_served(Served(transport="t", account="a", answered=model))
    return PlainTextResponse("fine", 200 if request.url.path == "/answered" else 502)


def links(scope):
    if scope["path"] == "/no-links":
        raise LookupError("no context yet")


def observing(app, limits=None):
    return RequestContextMiddleware(
        app,
        Metrics(CollectorRegistry(), 100),
        request_deps(limits=limits or RequestLimits(), links=links),
        error_response,
    )


ENDPOINTS = {
    "/fine": fine,
    "/no-links": fine,
    "/answered": answered,
    "/refused": answered,
}


@pytest.fixture
async def client():
    router = RequestRouter(DIALECT, [(Route(path, endpoint), DIALECT) for path, endpoint in ENDPOINTS.items()])
    async with serve_loopback(observing(router)) as url, httpx.AsyncClient(base_url=url) as opened:
        yield opened


@pytest.mark.parametrize(("path", "model"), [("/answered", "3.7 Flash"), ("/refused", None), ("/fine", None)])
async def test_successful_responses_alone_name_the_model_that_answered(client, path, model):
    response = await client.get(path)
    assert response.headers.get("x-gateway-upstream-model") == model


async def test_an_exception_before_the_context_exists_is_logged(client):
    with structlog.testing.capture_logs() as logged:
        response = await client.get("/no-links")
    assert response.status_code == 500
    assert [(line["event"], line["path"]) for line in logged] == [("request_failed", "/no-links")]
    assert (await client.get("/fine")).text == "fine"


LONG = b"x" * 64_000_000


class Answering:
    """An exchange, its writer and a media stream: yields one long piece, then never ends."""

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
async def test_a_client_that_reads_nothing_is_disconnected_for_every_kind_of_response(kind):
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


async def test_a_slow_endpoint_does_not_count_as_a_stalled_client():
    async def slow():
        await anyio.sleep(0.2)
        return PlainTextResponse("done")

    observed = observing(WholeResponse(slow, error_response), RequestLimits(write_timeout_seconds=0.05))
    async with serve_loopback(observed) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/")).text == "done"
