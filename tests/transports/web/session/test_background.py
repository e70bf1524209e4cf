import anyio
import pytest

from protocol.model import UpstreamFailed
from tests.clock import ManualClock
from transports.web.session.background import open_background_work


class RecordedWork:
    def __init__(self, *, error=None, wait=None):
        self.done = anyio.Event()
        self.error, self.wait = error, wait

    async def __call__(self):
        if self.wait is not None:
            await self.wait.wait()
        self.done.set()
        if self.error is not None:
            raise self.error


async def test_background_work_is_delayed_and_blocks_no_caller():
    clock, work = ManualClock(), RecordedWork()
    async with open_background_work(clock) as background:
        background.later(60.0, "delete", work)
        await clock.until_asleep()
        assert not work.done.is_set()
        clock.advance(60)
        await work.done.wait()


async def test_shutdown_runs_waiting_work_at_once():
    first, second = RecordedWork(), RecordedWork()
    async with open_background_work(ManualClock()) as background:
        background.later(60.0, "delete", first)
        background.later(3600.0, "delete", second)
    assert first.done.is_set()
    assert second.done.is_set()


@pytest.mark.parametrize("error", [UpstreamFailed("no"), KeyError("bug")])
async def test_a_failure_or_bug_does_not_affect_other_work(error):
    failing, other = RecordedWork(error=error), RecordedWork()
    async with open_background_work(ManualClock()) as background:
        background.later(0.0, "delete", failing)
        await failing.done.wait()
        background.later(0.0, "delete", other)
        await other.done.wait()


async def test_shutdown_cancels_work_that_hangs(monkeypatch):
    monkeypatch.setattr("transports.web.session.background._CLOSE_SECONDS", 0.05)
    stuck = RecordedWork(wait=anyio.Event())
    with anyio.fail_after(60):
        async with open_background_work(ManualClock()) as background:
            background.later(0.0, "delete", stuck)
    assert not stuck.done.is_set()


async def test_an_error_inside_the_context_is_raised_unchanged():
    with pytest.raises(KeyError):
        async with open_background_work(ManualClock()):
            raise KeyError("inside")
