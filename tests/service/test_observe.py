"""What becomes of bugs, over a real socket."""

import json

import httpx2 as httpx
import pytest
import structlog
from prometheus_client import CollectorRegistry
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from protocol.http.context import Limits
from service import wiring
from service.app import _cors, _starlette
from service.drain import Drain
from service.observe import Means, Metrics, Observed
from service.server import serve_loopback
from tests.clock import ManualClock


async def boom(request):
    raise LookupError("an error's own words, with a secret perhaps")


async def fine(request):
    return PlainTextResponse("fine")


def links(scope):
    if scope["path"] == "/no-links":
        raise LookupError("before there is a context")


@pytest.fixture
async def client():
    routes = [Route(path, endpoint) for path, endpoint in (("/boom", boom), ("/fine", fine), ("/no-links", fine))]
    means = Means(
        clock=ManualClock(), drain=Drain(), limits=Limits(), links=links, fetch=None, jobs=None, log_prompts=False
    )
    app = _cors(_starlette(routes), ("https://chat.example",))
    observed = Observed(app, Metrics(CollectorRegistry()), means, wiring.house_refusal)
    async with serve_loopback(observed) as url, httpx.AsyncClient(base_url=url) as opened:
        yield opened


async def test_a_bug_is_a_500_in_the_houses_form_with_an_id(client):
    with structlog.testing.capture_logs() as logged:
        response = await client.get("/boom", headers={"Origin": "https://chat.example"})
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


async def test_a_bug_before_there_is_a_context_is_logged_too(client):
    with structlog.testing.capture_logs() as logged:
        response = await client.get("/no-links")
    assert response.status_code == 500
    assert [(line["event"], line["path"]) for line in logged] == [("request_failed", "/no-links")]
    assert (await client.get("/fine")).text == "fine"
