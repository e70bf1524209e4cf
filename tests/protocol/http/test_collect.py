import anyio
import anyio.lowlevel
import pytest

from protocol.http.budget import MIB, ByteBudget, Reservation
from protocol.http.collect import Files, collect
from protocol.http.spool import Spool
from protocol.model import Saturated, StoredFile, TooLong, UpstreamFailed, released

DATA = bytes(range(256)) * 12_288  # 3 MiB


async def pieces_of(data, size=100_000, error=None):
    for at in range(0, len(data), size):
        yield data[at : at + size]
    if error is not None:
        raise error


class World:
    def __init__(self, memory=64 * MIB, in_memory=False, **spool):
        self.memory, self.spool = ByteBudget(memory, wait_seconds=0.01), Spool(**spool)
        self.spool.in_memory = in_memory
        self.hold = Reservation(self.memory, "me")

    async def collect(self, data, most=10 * MIB, **more):
        return await collect(pieces_of(data, **more), self.hold, self.spool, most)


@pytest.mark.parametrize("size", [0, 1, 64 * 1024])
async def test_a_short_file_is_in_memory_and_takes_no_part_of_the_budget(size):
    world = World()
    assert await world.collect(DATA[:size]) == DATA[:size]
    assert (world.hold.size, world.spool.used) == (0, 0)


async def test_a_file_of_up_to_256_kib_is_in_memory_and_counts():
    world = World()
    assert await world.collect(DATA[: MIB // 4]) == DATA[: MIB // 4]
    assert (world.hold.size, world.spool.used) == (MIB // 4, 0)


@pytest.mark.parametrize("size", [1_000, 100_000, 700_000, 10**7])
async def test_a_longer_one_is_on_disk_whatever_pieces_it_comes_in(size):
    world = World()
    found = await world.collect(DATA, size=size)
    assert isinstance(found, StoredFile)
    assert found.whole() == DATA
    assert (world.hold.size, world.spool.used) == (0, len(DATA))
    del found
    assert world.spool.used == 0


async def test_a_file_on_a_disk_that_is_memory_counts():
    world = World(in_memory=True)
    found = await world.collect(DATA)
    assert world.hold.size == len(found)


@pytest.mark.parametrize("in_memory", [False, True])
async def test_what_fails_leaves_nothing(in_memory):
    for raised, more in (
        (TooLong, {"most": 2 * MIB}),
        (TooLong, {"most": 1000}),
        (UpstreamFailed, {"error": UpstreamFailed("It breaks off.")}),
    ):
        world = World(in_memory=in_memory)
        with pytest.raises(raised):
            await world.collect(DATA, **more)
        assert (world.memory.used, world.spool.used) == (0, 0)


async def test_no_memory_and_no_space_on_disk_are_refused():
    for world in (World(memory=2 * MIB), World(total=MIB)):
        world.memory.used = 1
        with pytest.raises(Saturated) as caught:
            await world.collect(DATA)
        released(caught.value)
        del caught  # it has the frames, too
        assert world.memory.used == 1
        with anyio.fail_after(60):
            while world.spool.used:  # the thread lets go of its error a moment later
                await anyio.lowlevel.checkpoint()


async def test_files_outside_of_a_request_give_back_when_they_are_done_with():
    world = World()
    data = DATA[: MIB // 4]
    async with Files(world.memory, world.spool).collected(pieces_of(data), owner="me", most=MIB) as content:
        assert (content, world.memory.used) == (data, len(data))
    assert world.memory.used == 0
