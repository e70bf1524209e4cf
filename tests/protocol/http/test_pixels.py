import threading

import anyio
import anyio.lowlevel
import pytest

from protocol.http.budget import MIB, ByteBudget, Reservation
from protocol.http.pixels import PixelPool
from protocol.model import Saturated

MILLION = 1_000_000


class Work:
    """Pieces of work that run until released; records which run at once."""

    def __init__(self):
        self.begun, self.let_go = [], {}

    def piece(self, name):
        self.let_go[name] = threading.Event()

        def work():
            self.begun.append(name)
            assert self.let_go[name].wait(60)
            return name

        return work

    async def until(self, *names):
        with anyio.fail_after(60):
            while sorted(self.begun) != sorted(names):
                await anyio.lowlevel.checkpoint()


async def test_small_pictures_are_processed_concurrently_and_a_large_one_alone():
    pool, memory, work = PixelPool(50 * MILLION, threads=4), ByteBudget(), Work()
    async with anyio.create_task_group() as tasks:
        for name, pixels in (("a", 2), ("b", 2), ("large", 50), ("c", 2)):
            tasks.start_soon(pool.run, work.piece(name), pixels * MILLION, memory, "me")
            await anyio.wait_all_tasks_blocked()
        await work.until("a", "b")
        work.let_go["a"].set()
        work.let_go["b"].set()
        await work.until("a", "b", "large")
        assert pool.at_work == 50 * MILLION
        work.let_go["large"].set()
        await work.until("a", "b", "large", "c")
        work.let_go["c"].set()
    assert (pool.at_work, memory.used) == (0, 0)


async def test_licenses_take_turns_in_image_processing():
    pool, memory, work = PixelPool(10, threads=1), ByteBudget(), Work()
    async with anyio.create_task_group() as tasks:
        for owner, name in (("me", "first"), ("me", "mine"), ("me", "mine too"), ("you", "yours")):
            tasks.start_soon(pool.run, work.piece(name), 10, memory, owner)
            await anyio.wait_all_tasks_blocked()
        for event in work.let_go.values():
            event.set()
    assert work.begun == ["first", "mine", "yours", "mine too"]


async def test_more_than_64_mib_decoded_is_reserved_from_the_memory():
    pool, memory = PixelPool(), ByteBudget(400 * MIB)
    assert await pool.run(lambda: memory.used, 8 * MILLION, memory, "me") == 0
    assert await pool.run(lambda: memory.used, 20 * MILLION, memory, "me") == 160 * MILLION
    assert await pool.run(lambda: memory.used, 10**9, memory, "me") == memory.total // 2
    assert memory.used == 0


async def test_the_largest_picture_is_processed_while_its_own_file_holds_memory():
    pool, memory = PixelPool(), ByteBudget(wait_seconds=0.01)
    body = Reservation(memory, "me")
    await body.raise_to(30 * MIB)
    assert await pool.run(lambda: "done", 50 * MILLION, memory, "me") == "done"
    body.release()
    assert memory.used == 0


async def test_work_without_memory_is_refused_and_failed_work_releases_its_memory():
    pool, memory = PixelPool(), ByteBudget(100 * MIB, wait_seconds=0.01)
    memory.used = 60 * MIB
    with pytest.raises(Saturated):
        await pool.run(lambda: None, 20 * MILLION, memory, "me")
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 / 0, MILLION, memory, "me")
    assert (pool.at_work, memory.used) == (0, 60 * MIB)


async def test_waiting_work_that_is_cancelled_reserves_nothing():
    pool, memory, work = PixelPool(10, threads=1), ByteBudget(), Work()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.run, work.piece("first"), 10, memory, "me")
        await work.until("first")
        with anyio.move_on_after(0.01):
            await pool.run(work.piece("second"), 10, memory, "me")
        work.let_go["first"].set()
    assert work.begun == ["first"]
    assert pool.at_work == 0
