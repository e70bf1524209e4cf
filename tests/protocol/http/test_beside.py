import threading

import anyio

from protocol.http.beside import beside
from protocol.http.budget import ByteBudget
from protocol.http.picture import fitted
from protocol.openai.files import from_base64
from tests.protocol.http.test_picture import drawn
from tests.protocol.openai.conftest import make_context


async def test_no_more_than_two_pieces_of_work_are_done_at_once():
    let_go, working, most, lock = threading.Event(), 0, 0, threading.Lock()

    def work():
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
            if working == 2:
                let_go.set()
        assert let_go.wait(10)
        with lock:
            working -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(beside, work)
    assert most == 2


async def test_pictures_and_long_files_share_the_two_places():
    let_go = threading.Event()
    done = []

    async def note(name, work):
        await work
        done.append(name)

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(beside, let_go.wait)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(note, "picture", fitted(drawn(), ByteBudget(), size=(8, 8), format="webp"))
        text = "d29yZHMg" * 200_000
        tasks.start_soon(note, "file", from_base64(text, name="", param="x", context=make_context()))
        await anyio.wait_all_tasks_blocked()
        assert done == []
        let_go.set()
    assert sorted(done) == ["file", "picture"]
