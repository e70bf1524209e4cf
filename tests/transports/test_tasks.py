import anyio
import anyio.lowlevel
import pytest

from tests.clock import ManualClock
from transports.tasks import background_tasks, background_tasks_with_final, wait_for


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


async def test_what_goes_wrong_in_the_context_is_raised_as_it_is():
    with pytest.raises(KeyError):
        async with background_tasks() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            raise KeyError("inside")


async def test_waiting_ends_with_what_is_waited_for_or_when_its_time_is_over():
    clock, happened, said = ManualClock(), anyio.Event(), []

    async def wait():
        said.append(await wait_for(happened, 10.0, clock))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await clock.until_asleep()
        clock.advance(10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await clock.until_asleep()
        happened.set()
    assert said == [False, True]
    assert clock.sleepers == 0


async def test_the_last_thing_is_done_when_all_that_ran_beside_has_ended():
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
        async with background_tasks_with_final((run, run), last, 5.0):
            await anyio.wait_all_tasks_blocked()
            raise LookupError
    assert seen == ["ended", "ended", "last"]
