import anyio
import pytest
from prometheus_client import CollectorRegistry

from service.config.process import Overload
from service.middleware.load_monitor import LoadMonitor, Step, step_of
from tests.clock import ManualClock

TERMS = Overload()


def pressure(memory=lambda: None, clock=None, registry=None):
    return LoadMonitor(memory, clock or ManualClock(), TERMS, registry or CollectorRegistry())


@pytest.mark.parametrize(
    ("memory", "lag", "step"),
    [
        (None, 0.0, Step.NOTHING),
        (0.84, 0.0, Step.NOTHING),
        (0.85, 0.0, Step.LONG_BODIES),
        (0.92, 0.0, Step.CONNECTIONS),
        (0.95, 0.0, Step.ALL),
        (1.2, 0.0, Step.ALL),
        (None, 1.6, Step.NOTHING),
        (None, 1.7, Step.LONG_BODIES),
        (0.5, 1.85, Step.CONNECTIONS),
        (0.86, 1.9, Step.ALL),
    ],
)
def test_the_worse_of_memory_and_lag_tells_what_is_taken(memory, lag, step):
    assert step_of(memory, lag, TERMS) is step


def test_one_late_beat_in_fifty_is_none_and_two_are():
    found = pressure()
    for _ in range(50):
        found.beat(0.001)
    found.beat(0.6)
    assert not found.strained
    found.beat(0.6)
    assert found.lag == 0.6
    assert found.strained
    for _ in range(50):
        found.beat(-0.001)
    assert (found.lag, found.strained) == (0.0, False)


def test_memory_that_is_nearly_all_taken_asks_for_no_more_work():
    taken = [0.949]
    found = pressure(lambda: taken[0])
    found.look()
    assert not found.strained
    taken[0] = 0.95
    found.look()
    assert found.strained


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
    shown = [registry.get_sample_value(f"gateway_{name}") for name in ("loop_lag_seconds", "memory_ratio")]
    assert shown == [pytest.approx(1.0), 0.9]
    assert registry.get_sample_value("gateway_overload_step") == Step.LONG_BODIES
