import errno
import os
import resource
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from protocol.model import UpstreamFailed
from service.media.cache import MediaCache
from service.media.routes import OpenedMedia


class Source:
    """Counts how often it is opened."""

    def __init__(self, data=b"data", mime="image/png", error=None):
        self.data, self.mime, self.error, self.opened = data, mime, error, 0

    @asynccontextmanager
    async def __call__(self):
        self.opened += 1
        held = OpenedMedia(self.data, self.mime)
        yield _Broken(held, self.error) if self.error else held


class _Broken:
    def __init__(self, held, error):
        self.mime, self.length, self._held, self._error = held.mime, held.length, held, error

    async def __aiter__(self):
        async for piece in self._held:
            yield piece[:2]
        raise self._error


async def take(shelf, name, source):
    async with shelf.open(name, source()) as stream:
        return stream.mime, stream.length, b"".join([piece async for piece in stream])


async def test_cached_media_are_not_fetched_again(tmp_path):
    shelf, source = MediaCache(tmp_path / "kept", 1000), Source(b"picture", "image/jpeg")
    for _ in range(3):
        assert await take(shelf, "one", source) == ("image/jpeg", 7, b"picture")
    assert source.opened == 1
    assert await take(MediaCache(tmp_path / "kept", 1000), "one", source) == ("image/jpeg", 7, b"picture")
    assert source.opened == 1


async def test_the_least_recently_used_file_is_evicted(tmp_path):
    shelf, sources = MediaCache(tmp_path, 10), {name: Source(b"1234") for name in "abc"}
    for age, name in enumerate("ab"):
        await take(shelf, name, sources[name])
        (path,) = tmp_path.glob(f"{name}.*")
        os.utime(path, (1000 + age, 1000 + age))
    await take(shelf, "a", sources["a"])  # used again: now b is the longest unused
    await take(shelf, "c", sources["c"])
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["a", "c"]


async def test_media_larger_than_the_cache_are_passed_on(tmp_path):
    shelf, source = MediaCache(tmp_path, 3), Source(b"1234")
    assert (await take(shelf, "a", source))[2] == b"1234"


async def test_incomplete_media_are_not_cached(tmp_path):
    with pytest.raises(UpstreamFailed):
        await take(MediaCache(tmp_path, 100), "a", Source(error=UpstreamFailed("x")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["utime", "open"])
async def test_a_file_that_another_process_evicts_is_fetched_again(tmp_path, monkeypatch, step):
    shelf, source = MediaCache(tmp_path, 1000), Source(b"picture")
    await take(shelf, "one", source)
    utime, opened = os.utime, Path.open

    def evicted(path):
        monkeypatch.undo()
        path.unlink()

    def utime_too_late(path):
        evicted(path)
        utime(path)

    def open_too_late(path, mode):
        evicted(path)
        return opened(path, mode)

    if step == "utime":
        monkeypatch.setattr("service.media.cache.os.utime", utime_too_late)
    else:
        monkeypatch.setattr(Path, "open", open_too_late)
    assert (await take(shelf, "one", source))[2] == b"picture"
    assert source.opened == 2


async def test_a_folder_that_was_removed_is_made_again(tmp_path):
    shelf = MediaCache(tmp_path / "kept", 1000)
    (tmp_path / "kept").rmdir()
    assert (await take(shelf, "one", Source(b"picture")))[2] == b"picture"
    assert len(list((tmp_path / "kept").iterdir())) == 1


async def test_media_are_passed_on_while_the_folder_cannot_be_used(tmp_path):
    failures = []
    shelf, source = MediaCache(tmp_path / "kept", 1000, lambda: failures.append(1)), Source(b"picture")
    (tmp_path / "kept").rmdir()
    (tmp_path / "kept").touch()
    for _ in range(2):
        assert await take(shelf, "one", source) == ("image/png", 7, b"picture")
    assert (source.opened, len(failures)) == (2, 2)
    (tmp_path / "kept").unlink()
    for _ in range(2):
        assert (await take(shelf, "one", source))[2] == b"picture"
    assert (source.opened, len(failures)) == (3, 2)


async def test_a_disk_that_fills_up_passes_on_what_was_written_and_the_rest(tmp_path):
    class Pieces(OpenedMedia):
        async def __aiter__(self):
            for at in range(0, len(self._data), 30_000):
                yield self._data[at : at + 30_000]

    @asynccontextmanager
    async def source():
        yield Pieces(data, "image/png")

    data, failures = os.urandom(200_000), []
    shelf = MediaCache(tmp_path, 1_000_000, lambda: failures.append(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (1, 30_000, 70_001):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with capture_logs():  # the output of a test is a file too
                async with shelf.open("one", source()) as stream:
                    assert (stream.mime, stream.length) == ("image/png", len(data))
                    assert b"".join([piece async for piece in stream]) == data
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(tmp_path.iterdir()) == []
    assert len(failures) == 3
    assert (await take(shelf, "one", source))[2] == data
    assert len(list(tmp_path.iterdir())) == 1


async def test_a_complete_file_that_gets_no_name_is_passed_on(tmp_path, monkeypatch):
    def full(self, partial, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MediaCache, "_publish", full)
    assert (await take(MediaCache(tmp_path, 1000), "one", Source(b"picture")))[2] == b"picture"
    assert list(tmp_path.iterdir()) == []


KEEPING = """
import sys
from pathlib import Path
import anyio
from service.media.cache import MediaCache
from contextlib import asynccontextmanager

class Endless:
    mime, length = "image/png", None
    async def __aiter__(self):
        yield b"x" * 100
        print("begun", flush=True)
        await anyio.sleep_forever()

@asynccontextmanager
async def source():
    yield Endless()

async def main():
    async with MediaCache(Path(sys.argv[1]), 1000).open("one", source()):
        pass

anyio.run(main)
"""


def test_partial_files_are_removed_only_after_their_process_was_killed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KEEPING, tmp_path], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"begun\n"
        MediaCache(tmp_path, 1000)
        assert len(list(tmp_path.glob("*.partial"))) == 1
    finally:
        process.kill()
        process.communicate()
    MediaCache(tmp_path, 1000)
    assert list(tmp_path.iterdir()) == []


async def test_without_file_locks_only_old_partial_files_are_removed(tmp_path, monkeypatch):
    def unsupported(descriptor, operation):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr("service.media.cache.fcntl.flock", unsupported)
    old, new = tmp_path / "old.partial", tmp_path / "new.partial"
    old.touch()
    new.touch()
    os.utime(old, (1000, 1000))
    MediaCache(tmp_path, 1000)
    assert list(tmp_path.iterdir()) == [new]


async def test_media_are_passed_on_while_the_cache_is_filling(tmp_path):
    shelf, stuck, go_on = MediaCache(tmp_path, 10), anyio.Event(), anyio.Event()

    class Slow:
        mime, length = "image/png", 8

        async def __aiter__(self):
            yield b"1234"
            stuck.set()
            await go_on.wait()
            yield b"5678"

    @asynccontextmanager
    async def slow():
        yield Slow()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, shelf, "one", slow)
        await stuck.wait()
        assert (await take(shelf, "two", Source(b"1234")))[2] == b"1234"
        assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
        go_on.set()
    assert [path.name.partition(".")[0] for path in tmp_path.iterdir()] == ["one"]
    await take(shelf, "three", Source(b"12"))
    assert sorted(path.name.partition(".")[0] for path in tmp_path.iterdir()) == ["one", "three"]


async def test_a_client_that_disconnects_leaves_nothing_open(tmp_path):
    begun = anyio.Event()

    class Endless:
        mime, length = "image/png", None

        async def __aiter__(self):
            yield b"x"
            begun.set()
            await anyio.sleep_forever()

    @asynccontextmanager
    async def source():
        yield Endless()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, MediaCache(tmp_path, 1000), "one", source)
        await begun.wait()
        tasks.cancel_scope.cancel()
    assert list(tmp_path.iterdir()) == []
