"""New requests run between the chunks of running streams, however many streams are ready."""

import asyncio

import pytest

from transports.interleave import Interleaver, interleaver

pytestmark = pytest.mark.anyio

STREAMS = 200
STEPS = 20


@pytest.fixture
def handled():
    """List the numbers of the streams whose chunk has been handled."""
    return []


async def stream(shared, number, handled):
    await shared.turn()
    handled.append(number)


async def passes(until):
    """Let the event loop run until a condition holds; fail if it never does."""
    for _ in range(10 * STREAMS):
        if until():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never held")


async def test_each_step_of_a_new_request_waits_for_few_of_many_streams(handled):
    shared = Interleaver()
    tasks = [asyncio.create_task(stream(shared, number, handled)) for number in range(STREAMS)]
    await asyncio.sleep(0)
    for _ in range(STEPS):
        await asyncio.sleep(0)
    assert len(handled) < 2 * STEPS
    await asyncio.gather(*tasks)
    assert handled == list(range(STREAMS))


async def test_the_first_streams_of_a_pass_do_not_wait(handled):
    shared = Interleaver()
    turn = shared.turn()
    with pytest.raises(StopIteration):
        turn.send(None)
    await asyncio.gather(*(stream(shared, number, handled) for number in range(3)))
    assert handled == [0, 1, 2]


async def test_a_stream_that_comes_while_others_wait_goes_behind_them(handled):
    shared = Interleaver()
    tasks = [asyncio.create_task(stream(shared, number, handled)) for number in range(STREAMS)]
    await asyncio.sleep(0)
    await stream(shared, STREAMS, handled)
    assert handled == list(range(STREAMS + 1))
    await asyncio.gather(*tasks)


async def test_streams_that_are_cancelled_while_they_wait_take_no_turn_from_others(handled):
    shared = Interleaver()
    tasks = [asyncio.create_task(stream(shared, number, handled)) for number in range(STREAMS)]
    await asyncio.sleep(0)
    for task in tasks[:-1]:
        task.cancel()
    await asyncio.gather(*tasks[:-1], return_exceptions=True)
    await passes(tasks[-1].done)
    assert handled[-1] == STREAMS - 1
    for _ in range(3):  # and the next streams find it as it was
        await stream(shared, STREAMS, handled)


async def test_turns_are_shared_by_all_streams_of_an_event_loop():
    assert interleaver() is interleaver()
