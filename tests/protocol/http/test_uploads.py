import pytest

from protocol.http.uploads import UploadNote, page_of, store_upload
from protocol.model import BadRequest, Saturated, UploadedFile
from tests.protocol.conftest import make_context

TEXT = "Größe".encode("utf-16")


class Files:
    """A store that records what it is asked."""

    retention_seconds, piece_bytes = 100.0, 10

    def __init__(self, failing=""):
        self.calls, self._failing = [], failing

    async def begin(self, owner, file):
        self._call("begin")

    async def append(self, owner, file, offset, content):
        self._call("append")

    async def finish(self, owner, file):
        self._call("finish")

    async def remove(self, owner, file_id):
        self._call("remove")
        return True

    def _call(self, name):
        self.calls.append(name)
        if name == self._failing:
            raise Saturated("The store failed.")


def file_at(created, identity):
    return UploadedFile(id=identity, name="", mime="", size=1, created=created, expires=9.0)


def context_with(files):
    return make_context(files=files, created=50.0)


async def test_a_file_is_checked_and_keeps_its_bytes():
    files = Files()
    file = await store_upload(TEXT, UploadNote(name="a/b.txt", purpose="vision"), context_with(files))
    assert (file.name, file.mime, file.size, file.purpose) == ("b.txt", "text/plain", len(TEXT), "vision")
    assert len(file.digest) == 64
    assert files.calls == ["begin", "append", "finish"]


@pytest.mark.parametrize(("seconds", "expires"), [(None, 150.0), (10.0, 60.0), (1000.0, 150.0)])
async def test_a_client_may_shorten_the_time_that_a_file_is_kept(seconds, expires):
    file = await store_upload(b"x", UploadNote(seconds=seconds), context_with(Files()))
    assert (file.created, file.expires) == (50.0, expires)


def test_a_page_begins_behind_a_place_even_if_its_file_is_gone():
    files = [file_at(created, identity) for created, identity in ((1.0, "a"), (2.0, "c"), (2.0, "b"), (3.5, "d"))]
    first, cursor = page_of(files, 2, "", "page")
    assert [file.id for file in first] == ["d", "c"]
    rest, end = page_of([file for file in files if file.id in "ab"], 2, cursor, "page")
    assert ([file.id for file in rest], end) == (["b", "a"], "")


@pytest.mark.parametrize("cursor", ["x", "1", "-a", "1e3-a", f"{'9' * 5000}-a"])
def test_a_cursor_that_no_page_has_returned_is_refused(cursor):
    with pytest.raises(BadRequest) as refused:
        page_of([], 2, cursor, "page")
    assert refused.value.param == "page"


async def test_nothing_is_stored_of_a_file_that_is_refused():
    files = Files()
    with pytest.raises(BadRequest) as refused:
        await store_upload(b"\x7fELF" + bytes(100), UploadNote(param="upload"), context_with(files))
    assert (refused.value.param, files.calls) == ("upload", [])


@pytest.mark.parametrize("failing", ["append", "finish"])
async def test_a_file_that_cannot_be_stored_is_removed(failing):
    files = Files(failing)
    with pytest.raises(Saturated):
        await store_upload(b"x", UploadNote(), context_with(files))
    assert files.calls[-1] == "remove"
