import anyio
import anyio.lowlevel
import pytest

from transports.tasks import beside


async def test_tasks_end_with_the_context():
    ended = anyio.Event()

    async def work():
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with beside() as tasks:
        tasks.start_soon(work)
        await anyio.lowlevel.checkpoint()
    assert ended.is_set()


async def test_what_goes_wrong_in_the_context_is_raised_as_it_is():
    with pytest.raises(KeyError):
        async with beside() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            raise KeyError("inside")
