import threading

import anyio
import anyio.lowlevel
import pytest

from protocol.http.parallel import gather, outcomes, run_in_worker
from protocol.model import BadRequest, Refused


async def test_work_runs_concurrently_and_results_keep_their_order():
    begun = []
    both = anyio.Event()

    def work(name):
        async def do():
            begun.append(name)
            if len(begun) == 2:
                both.set()
            await both.wait()
            return name

        return do

    with anyio.fail_after(60):
        assert await outcomes([work("a"), work("b")]) == ["a", "b"]


async def test_errors_are_outcomes_and_the_first_can_be_raised():
    async def give():
        return 1

    async def refuse():
        raise Refused("no")

    async def blame():
        raise BadRequest("wrong")

    came = await outcomes([give, refuse, blame])
    assert [type(one) for one in came] == [int, Refused, BadRequest]
    with pytest.raises(Refused):
        await gather([give, refuse, blame])
    assert await gather([give, give]) == [1, 1]
    assert await gather([]) == []


async def test_an_unexpected_exception_is_raised():
    async def broken():
        raise KeyError("x")

    with pytest.raises(ExceptionGroup):
        await outcomes([broken])


async def test_at_most_two_pieces_of_work_run_at_once():
    let_go, working, most, lock = threading.Event(), 0, 0, threading.Lock()

    def work():
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
            if working == 2:
                let_go.set()
        assert let_go.wait(60)
        with lock:
            working -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(run_in_worker, work)
    assert most == 2


async def test_the_work_of_a_license_waits_for_its_own_first():
    let_go, begun = threading.Semaphore(0), []

    def work(name):
        begun.append(name)
        assert let_go.acquire(timeout=60)

    async def run(owner, number):
        await run_in_worker(lambda: work(f"{owner}{number}"), owner)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(run, "a", number)
        while len(begun) < 2:
            await anyio.lowlevel.checkpoint()
        tasks.start_soon(run, "b", 0)
        await anyio.wait_all_tasks_blocked()
        for ended in range(1, 8):
            let_go.release()
            while len(begun) < min(7, 2 + ended):
                await anyio.lowlevel.checkpoint()
    assert begun.index("b0") <= 3
