import json
from types import SimpleNamespace

import anyio
import pytest
from prometheus_client import CollectorRegistry

from protocol.http.context import attach
from protocol.openai.errors import error_response
from service.config.schema import OverloadSettings
from service.middleware.load_shedding import LoadMonitor, LoadShedding, OverloadStep, overload_step
from tests.clock import ManualClock

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


TERMS = OverloadSettings()


def pressure(memory=lambda: None, clock=None, registry=None):
    return LoadMonitor(memory, clock or ManualClock(), TERMS, registry or CollectorRegistry())


@pytest.mark.parametrize(
    ("memory", "lag", "step"),
    [
        (None, 0.0, OverloadStep.NOTHING),
        (0.84, 0.0, OverloadStep.NOTHING),
        (0.85, 0.0, OverloadStep.LONG_BODIES),
        (0.92, 0.0, OverloadStep.CONNECTIONS),
        (0.95, 0.0, OverloadStep.ALL),
        (1.2, 0.0, OverloadStep.ALL),
        (None, 1.6, OverloadStep.NOTHING),
        (None, 1.7, OverloadStep.LONG_BODIES),
        (0.5, 1.85, OverloadStep.CONNECTIONS),
        (0.86, 1.9, OverloadStep.ALL),
    ],
)
def test_the_worse_of_memory_and_lag_tells_what_is_taken(memory, lag, step):
    assert overload_step(memory, lag, TERMS) is step


def test_one_late_beat_in_fifty_is_none_and_two_are():
    found = pressure()
    for _ in range(50):
        found.record_lag(0.001)
    found.record_lag(0.6)
    assert not found.overloaded
    found.record_lag(0.6)
    assert found.lag == 0.6
    assert found.overloaded
    for _ in range(50):
        found.record_lag(-0.001)
    assert (found.lag, found.overloaded) == (0.0, False)


def test_memory_that_is_nearly_all_taken_asks_for_no_more_work():
    taken = [0.949]
    found = pressure(lambda: taken[0])
    found.measure_memory()
    assert not found.overloaded
    taken[0] = 0.95
    found.measure_memory()
    assert found.overloaded


async def test_it_beats_with_the_loop_and_says_so_until_the_loop_is_stuck():
    clock, registry = ManualClock(), CollectorRegistry()
    found = pressure(lambda: 0.9, clock, registry)
    async with found.open():
        await clock.until_asleep()
        clock.advance(1.1)  # a beat is a tenth of a second: this one is a second late
        await anyio.wait_all_tasks_blocked()
        assert found.lag == pytest.approx(1.0)
        assert found.alive
        clock.now += 5.0
        assert not found.alive
    shown = [registry.get_sample_value(f"gateway_{name}") for name in ("event_loop_lag_seconds", "memory_usage_ratio")]
    assert shown == [pytest.approx(1.0), 0.9]
    assert registry.get_sample_value("gateway_load_shedding_level") == OverloadStep.LONG_BODIES
