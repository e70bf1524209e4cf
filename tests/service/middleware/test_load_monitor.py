import anyio
import pytest
from prometheus_client import CollectorRegistry

from service.config.schema import OverloadSettings
from service.middleware.load_monitor import LoadMonitor, OverloadStep, overload_step
from tests.clock import ManualClock

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
