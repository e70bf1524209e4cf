from functools import partial

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from tests.clock import ManualClock
from transports.tasks import Trigger, background_tasks, background_tasks_with_final, every, wait_for


async def test_tasks_end_with_the_context():
    ended = anyio.Event()

    async def work():
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with background_tasks() as tasks:
        tasks.start_soon(work)
        await anyio.lowlevel.checkpoint()
    assert ended.is_set()


async def test_an_error_of_the_context_is_raised_without_a_group():
    with pytest.raises(KeyError):
        async with background_tasks() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            raise KeyError("inside")


async def test_wait_for_ends_with_the_event_or_after_its_seconds():
    clock, happened, found = ManualClock(), anyio.Event(), []

    async def wait():
        found.append(await wait_for(happened, 10.0, clock))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await clock.until_asleep()
        clock.advance(10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await clock.until_asleep()
        happened.set()
    assert found == [False, True]
    assert clock.sleepers == 0


async def test_the_final_work_runs_after_all_tasks_have_ended():
    seen = []

    async def run():
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            seen.append("ended")

    async def last():
        await anyio.lowlevel.checkpoint()
        seen.append("last")

    with pytest.raises(LookupError):
        async with background_tasks_with_final((run, run), last, 5.0, "last_failed"):
            await anyio.wait_all_tasks_blocked()
            raise LookupError
    assert seen == ["ended", "ended", "last"]


async def test_final_work_that_cannot_reach_the_store_is_logged():
    async def last():
        await anyio.lowlevel.checkpoint()
        raise OSError

    with capture_logs() as logs:
        async with background_tasks_with_final((), last, 5.0, "last_failed"):
            await anyio.lowlevel.checkpoint()
    assert [entry["event"] for entry in logs] == ["last_failed"]


@pytest.mark.parametrize(("wait", "calls"), [(False, 3), (True, 2)])
async def test_periodic_work_runs_at_once_or_after_the_first_pause(wait, calls):
    clock, called = ManualClock(), []

    async with background_tasks() as tasks:
        tasks.start_soon(partial(every, 5.0, lambda: called.append(clock.now), clock, wait=wait))
        for _ in range(2):
            await clock.until_asleep()
            clock.advance(5.0)
        await anyio.wait_all_tasks_blocked()
    assert len(called) == calls


class Saving:
    """Work that a trigger starts: fails while `down` is set."""

    def __init__(self, clock):
        self.trigger, self.clock, self.calls, self.failures, self.down = Trigger(), clock, 0, 0, False

    async def work(self):
        self.calls += 1
        if self.down:
            raise OSError("down")

    def failed(self):
        self.failures += 1

    async def run(self):
        await self.trigger.run(self.work, self.failed, self.clock, delay=0.5, retry_seconds=2.0)


async def test_each_change_is_followed_by_a_call():
    clock = ManualClock()
    saving = Saving(clock)
    async with background_tasks() as tasks:
        tasks.start_soon(saving.run)
        for calls in (1, 2):
            saving.trigger.set()
            await clock.until_asleep()
            saving.trigger.set()
            clock.advance(0.5)
            await anyio.wait_all_tasks_blocked()
            clock.advance(0.5)
            await anyio.wait_all_tasks_blocked()
            assert saving.calls == 2 * calls


async def test_failed_work_is_retried_without_another_change():
    clock = ManualClock()
    saving = Saving(clock)
    saving.down = True
    async with background_tasks() as tasks:
        tasks.start_soon(saving.run)
        saving.trigger.set()
        for seconds in (0.5, 2.0, 0.5):
            await clock.until_asleep()
            clock.advance(seconds)
            await anyio.wait_all_tasks_blocked()
        assert (saving.calls, saving.failures) == (2, 2)
        saving.down = False
        for seconds in (2.0, 0.5, 60.0):
            clock.advance(seconds)
            await anyio.wait_all_tasks_blocked()
        assert (saving.calls, saving.failures) == (3, 2)
