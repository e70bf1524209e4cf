import gc
from hashlib import blake2b
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from protocol.http.budget import MIB, ByteBudget, Reservation
from protocol.http.spool import Files, Spool, collect, is_memory
from protocol.model import FilePart, Saturated, StoredFile, TooLong, UpstreamFailed, released


def descriptors():
    return len([*Path("/proc/self/fd").iterdir()])


def test_a_spooled_file_is_read_unchanged_and_has_no_name(tmp_path):
    spool = Spool(tmp_path)
    file = spool.file(10**9)
    file.write(b"abc" * 1_000_000)
    file.write(b"!")
    stored = file.finish()
    data = b"abc" * 1_000_000 + b"!"
    assert list(tmp_path.iterdir()) == []
    assert (len(stored), stored.whole(), stored.read(3, 4)) == (len(data), data, b"abca")
    assert b"".join(stored.pieces()) == data
    assert stored.digest == blake2b(data, digest_size=32).digest()
    with stored.view() as view:
        assert (view[-1], view[:3]) == (ord("!"), b"abc")


def test_a_spooled_file_is_deleted_with_its_last_reference(tmp_path):
    spool = Spool(tmp_path)
    gc.disable()
    try:
        before = descriptors()
        file = spool.file(10)
        file.write(b"12345")
        part = FilePart(stored=file.finish(), mime="image/png", name="x")
        assert (spool.used, descriptors()) == (5, before + 1)
        del file, part
        assert (spool.used, descriptors()) == (0, before)
    finally:
        gc.enable()


def test_bytes_beyond_the_limit_are_counted_and_dropped(tmp_path):
    spool = Spool(tmp_path)
    file = spool.file(4)
    file.write(b"1234")
    file.write(b"56")
    assert (file.finish().size, spool.used) == (6, 4)


def test_too_many_bytes_are_refused(tmp_path):
    spool = Spool(tmp_path, total=4)
    file = spool.file(10)
    with pytest.raises(Saturated):
        file.write(b"12345")
    assert spool.used == 0


def test_a_missing_folder_is_refused_like_a_full_disk(tmp_path):
    with pytest.raises(Saturated):
        Spool(tmp_path / "none").file(1)


def test_a_file_in_memory_and_one_on_disk_are_the_same_content(tmp_path):
    file = Spool(tmp_path).file(10)
    file.write(b"12345")
    stored, inline = (FilePart(mime="m", name="n", **of) for of in ({"stored": file.finish()}, {"data": b"12345"}))
    assert stored.digest == inline.digest
    assert stored.size == inline.size == 5
    assert stored.loaded() == inline == inline.loaded()
    assert "12345" not in repr(stored)


@pytest.mark.parametrize(
    ("folder", "expected"), [("/tmp", True), ("/tmp/a", True), ("/tmp/a b", False), ("/var", False)]
)
def test_a_folder_in_memory_is_known_by_its_mount(tmp_path, folder, expected):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "20 1 0:1 / / rw - ext4 /dev/vda rw\n"
        "21 20 0:2 / /tmp rw shared:1 - tmpfs tmpfs rw,size=1g\n"
        "22 21 0:3 / /tmp/a\\040b rw - ext4 /dev/vdb rw\n"
    )
    assert is_memory(type(tmp_path)(folder), mounts) is expected


def test_without_a_list_of_mounts_no_folder_is_in_memory(tmp_path):
    assert not is_memory(tmp_path, tmp_path / "none")


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
async def test_a_short_file_is_in_memory_and_not_counted_in_the_budget(size):
    world = World()
    assert await world.collect(DATA[:size]) == DATA[:size]
    assert (world.hold.size, world.spool.used) == (0, 0)


async def test_a_file_of_up_to_256_kib_is_in_memory_and_counts():
    world = World()
    assert await world.collect(DATA[: MIB // 4]) == DATA[: MIB // 4]
    assert (world.hold.size, world.spool.used) == (MIB // 4, 0)


@pytest.mark.parametrize("size", [1_000, 100_000, 700_000, 10**7])
async def test_a_longer_file_is_on_disk_for_any_size_of_pieces(size):
    world = World()
    found = await world.collect(DATA, size=size)
    assert isinstance(found, StoredFile)
    assert found.whole() == DATA
    assert (world.hold.size, world.spool.used) == (0, len(DATA))
    del found
    assert world.spool.used == 0


async def test_a_file_on_tmpfs_counts_in_the_budget():
    world = World(in_memory=True)
    found = await world.collect(DATA)
    assert world.hold.size == len(found)


@pytest.mark.parametrize("in_memory", [False, True])
async def test_a_failed_collection_releases_its_memory(in_memory):
    for raised, more in (
        (TooLong, {"most": 2 * MIB}),
        (TooLong, {"most": 1000}),
        (UpstreamFailed, {"error": UpstreamFailed("It breaks off.")}),
    ):
        world = World(in_memory=in_memory)
        with pytest.raises(raised):
            await world.collect(DATA, **more)
        assert (world.memory.used, world.spool.used) == (0, 0)


async def test_exhausted_memory_and_disk_space_are_refused():
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


async def test_files_outside_of_a_request_release_their_bytes_when_dropped():
    world = World()
    data = DATA[: MIB // 4]
    async with Files(world.memory, world.spool).collected(pieces_of(data), owner="me", most=MIB) as content:
        assert (content, world.memory.used) == (data, len(data))
    assert world.memory.used == 0


def test_a_license_leaves_a_part_of_the_space_to_the_others(tmp_path):
    spool = Spool(tmp_path, 1000)

    def stored(owner, size):
        file = spool.of(owner).file(10**9)
        file.write(b"x" * size)
        return file.finish()

    held = [stored("a", 100) for _ in range(7)]
    with pytest.raises(Saturated):
        stored("a", 100)
    other = stored("b", 200)
    assert (spool.used, spool.refused, len(other)) == (900, 1, 200)
    held.clear()
    assert spool.used == 200
    assert len(stored("a", 500)) == 500
