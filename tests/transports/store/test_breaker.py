import anyio
import pytest

from tests.servers import RecordingStoreObserver
from transports.store.breaker import Breaker


class Probes:
    """Answers probes as a test says, one after the other."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0

    async def __call__(self):
        self.asked += 1
        return self.answers.pop(0)


@pytest.fixture
def observer():
    return RecordingStoreObserver()


@pytest.fixture
def breaker(clock, observer):
    return Breaker(clock, observer, failures=5, seconds=2.0)


def fail(breaker, times=5, *, timed_out=False):
    for _ in range(times):
        breaker.fail(timed_out=timed_out)


def test_the_breaker_opens_after_consecutive_failures(breaker, observer):
    fail(breaker, 4)
    breaker.succeed()
    fail(breaker, 4)
    assert not breaker.is_open
    fail(breaker, 3)
    assert breaker.is_open
    assert observer.breaker == [True]


def test_the_breaker_opens_at_once_after_a_timeout(breaker, observer):
    fail(breaker, 1, timed_out=True)
    assert breaker.is_open
    assert observer.breaker == [True]


async def test_a_late_success_does_not_close_the_breaker(breaker):
    fail(breaker)
    breaker.succeed()
    assert breaker.is_open


async def test_an_open_breaker_probes_until_the_server_answers(breaker, clock, observer):
    probes = Probes(False, False, True)
    async with anyio.create_task_group() as group:
        group.start_soon(breaker.run, probes)
        fail(breaker)
        for asked in range(3):
            await clock.until_asleep()
            assert probes.asked == asked
            clock.advance(1.4)
            await anyio.lowlevel.checkpoint()
            assert probes.asked == asked
            clock.advance(1.2)
            if asked < 2:
                await until_asked(probes, asked + 1)
        await observer.until_breaker(is_open=False)
        assert not breaker.is_open
        fail(breaker, 4)
        assert not breaker.is_open
        group.cancel_scope.cancel()


async def until_asked(probes, times):
    while probes.asked < times:
        await anyio.lowlevel.checkpoint()


async def test_a_slow_server_is_probed_at_once(breaker, clock, observer):
    probes = Probes(True)
    async with anyio.create_task_group() as group:
        group.start_soon(breaker.run, probes)
        fail(breaker, 1, timed_out=True)
        await observer.until_breaker(is_open=False)
        assert clock.sleepers == 0
        group.cancel_scope.cancel()
