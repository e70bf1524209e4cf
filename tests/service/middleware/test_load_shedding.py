import json
from types import SimpleNamespace

import pytest

from protocol.http.context import attach
from protocol.openai.errors import error_response
from service.middleware.load_monitor import OverloadStep
from service.middleware.load_shedding import LoadShedding

LONG = 1024


async def answered(step, path="/v1/models", headers=(), body=b""):
    """Return what a client sees of a gateway at this step: status, code, whether the connection is closed."""
    sent, record = [], SimpleNamespace(error=None)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": path, "method": "POST", "headers": list(headers)}
    attach(scope, SimpleNamespace(record=record))
    await LoadShedding(app, SimpleNamespace(step=step), LONG, error_response)(scope, receive, send)
    error = json.loads(sent[1]["body"]).get("error", {}).get("code")
    names = dict(sent[0]["headers"])
    assert record.error == error
    assert (b"retry-after" in {name.lower() for name in names}) is (error is not None)
    return sent[0]["status"], error, names.get(b"connection") == b"close"


def length(number):
    return [(b"content-length", str(number).encode())]


WELL, REFUSED = (200, None, False), (503, "overloaded", False)
CLOSED, REFUSED_CLOSED = (200, None, True), (503, "overloaded", True)


@pytest.mark.parametrize(
    ("step", "headers", "seen"),
    [
        (OverloadStep.NOTHING, length(LONG + 1), WELL),
        (OverloadStep.LONG_BODIES, length(LONG), WELL),
        (OverloadStep.LONG_BODIES, length(LONG + 1), REFUSED),
        (OverloadStep.LONG_BODIES, [(b"transfer-encoding", b"chunked")], REFUSED),
        (OverloadStep.CONNECTIONS, [], CLOSED),
        (OverloadStep.CONNECTIONS, length(LONG + 1), REFUSED_CLOSED),
        (OverloadStep.ALL, [], REFUSED_CLOSED),
        (OverloadStep.ALL, length(LONG + 1), REFUSED_CLOSED),
    ],
)
async def test_each_step_takes_more(step, headers, seen):
    assert await answered(step, headers=headers) == seen


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz", "/metrics"])
async def test_probes_are_answered_whatever_happens(path):
    assert await answered(OverloadStep.ALL, path=path) == WELL


async def test_what_is_no_request_is_passed_on():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    await LoadShedding(app, SimpleNamespace(step=OverloadStep.ALL), LONG, error_response)(
        {"type": "websocket"}, None, None
    )
    assert seen == ["websocket"]
