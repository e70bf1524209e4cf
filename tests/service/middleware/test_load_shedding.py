import json
from types import SimpleNamespace

import anyio
import pytest
from prometheus_client import CollectorRegistry

from protocol.http.context import attach
from protocol.openai.errors import error_response
from service.config.schema import OverloadSettings
from service.middleware.load_shedding import CgroupMemory, LoadMonitor, LoadShedding, OverloadStep, overload_step
from tests.clock import ManualClock

LONG = 1024


async def answered(step, path="/v1/models", headers=(), body=b""):
    """Return a response at this step: its status, its error code, and whether the connection is closed."""
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
async def test_each_step_refuses_more(step, headers, seen):
    assert await answered(step, headers=headers) == seen


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz", "/metrics"])
async def test_probes_are_answered_at_every_step(path):
    assert await answered(OverloadStep.ALL, path=path) == WELL


async def test_websockets_are_passed_on():
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
def test_the_worse_of_memory_and_lag_selects_the_step(memory, lag, step):
    assert overload_step(memory, lag, TERMS) is step


def test_one_late_beat_in_fifty_is_ignored_and_two_count():
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


def test_nearly_full_memory_counts_as_overloaded():
    taken = [0.949]
    found = pressure(lambda: taken[0])
    found.measure_memory()
    assert not found.overloaded
    taken[0] = 0.95
    found.measure_memory()
    assert found.overloaded


async def test_the_monitor_is_alive_until_the_loop_is_stuck():
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


V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def group(folder, names, limit, used, cached=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    active = names[2].replace("inactive", "active")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cached // 2}\nfile 2\n{active} {cached - cached // 2}\n")


def memory(tmp_path, groups):
    (tmp_path / "groups").write_text(groups)
    return CgroupMemory(tmp_path / "root", tmp_path / "groups")


def test_page_cache_does_not_count_as_memory_in_use(tmp_path):
    group(tmp_path / "root", V2, 1000, 900, cached=400)
    assert memory(tmp_path, "0::/\n").ratio() == 0.5


def test_the_fullest_parent_cgroup_determines_the_ratio(tmp_path):
    group(tmp_path / "root" / "pod" / "container", V2, "max", 100)
    group(tmp_path / "root" / "pod", V2, 200, 150)
    assert memory(tmp_path, "0::/pod/container\n").ratio() == 0.75


def test_cgroup_v1_is_supported(tmp_path):
    group(tmp_path / "root" / "memory" / "docker" / "x", V1, 1000, 960, cached=10)
    assert memory(tmp_path, "11:cpu,cpuacct:/docker/x\n7:memory:/docker/x\n").ratio() == 0.95


def test_the_root_is_read_if_the_path_does_not_exist_below_it(tmp_path):
    group(tmp_path / "root" / "memory", V1, 1000, 500)
    assert memory(tmp_path, "7:memory:/docker/x\n").ratio() == 0.5


def test_the_lowest_limit_of_the_parents_counts(tmp_path):
    group(tmp_path / "root" / "pod" / "container", V2, "max", 100)
    group(tmp_path / "root" / "pod", V2, 200, 150)
    group(tmp_path / "root", V2, 300, 150)
    assert memory(tmp_path, "0::/pod/container\n").limit() == 200


def test_there_is_no_ratio_without_a_limit(tmp_path):
    group(tmp_path / "root", V2, "max", 900)
    assert memory(tmp_path, "0::/\n").ratio() is None
    group(tmp_path / "root" / "memory", V1, 9223372036854771712, 900)
    assert memory(tmp_path, "7:memory:/\n").ratio() is None
    assert memory(tmp_path, "nonsense\n").ratio() is None
    assert CgroupMemory(tmp_path / "root", tmp_path / "nowhere").ratio() is None


def test_missing_or_malformed_files_give_no_ratio(tmp_path):
    group(tmp_path / "root", V2, 1000, 900)
    found = memory(tmp_path, "0::/\n")
    (tmp_path / "root" / "memory.current").write_text("many")
    assert found.ratio() is None
    (tmp_path / "root" / "memory.current").unlink()
    assert found.ratio() is None
