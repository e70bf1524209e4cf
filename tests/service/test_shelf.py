import os
from contextlib import asynccontextmanager

import pytest

from protocol.model import UpstreamFailed
from service.media import Held
from service.shelf import Shelf


class Source:
    """Counts how often it is opened."""

    def __init__(self, data=b"data", mime="image/png", error=None):
        self.data, self.mime, self.error, self.opened = data, mime, error, 0

    @asynccontextmanager
    async def __call__(self):
        self.opened += 1
        held = Held(self.data, self.mime)
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


async def test_what_was_opened_once_is_not_asked_for_again(tmp_path):
    shelf, source = Shelf(tmp_path / "kept", 1000), Source(b"picture", "image/jpeg")
    for _ in range(3):
        assert await take(shelf, "one", source) == ("image/jpeg", 7, b"picture")
    assert source.opened == 1
    assert await take(Shelf(tmp_path / "kept", 1000), "one", source) == ("image/jpeg", 7, b"picture")
    assert source.opened == 1


async def test_the_longest_unused_makes_room(tmp_path):
    shelf, sources = Shelf(tmp_path, 10), {name: Source(b"1234") for name in "abc"}
    for age, name in enumerate("ab"):
        await take(shelf, name, sources[name])
        (path,) = tmp_path.glob(f"{name}.*")
        os.utime(path, (1000 + age, 1000 + age))
    await take(shelf, "a", sources["a"])  # used again: now b is the longest unused
    await take(shelf, "c", sources["c"])
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["a", "c"]


async def test_what_is_larger_than_the_room_is_still_answered(tmp_path):
    shelf, source = Shelf(tmp_path, 3), Source(b"1234")
    assert (await take(shelf, "a", source))[2] == b"1234"


async def test_what_breaks_off_is_not_kept(tmp_path):
    with pytest.raises(UpstreamFailed):
        await take(Shelf(tmp_path, 100), "a", Source(error=UpstreamFailed("x")))
    assert list(tmp_path.iterdir()) == []
