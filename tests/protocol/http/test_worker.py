import threading

import anyio

from protocol.http.worker import run_in_worker


async def test_no_more_than_two_pieces_of_work_are_done_at_once():
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
