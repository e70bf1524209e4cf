"""One contract for uploaded files in every kind of store."""

import anyio
import msgspec
import pytest

from protocol.http.errors import HttpError
from protocol.model import Saturated, UploadedFile
from service.config.schema import FileSettings
from service.jobs.stored_files import StoredFiles
from transports.store import MemoryStore, StoreDown
from transports.store.port import FILE_INDEX, FILE_PIECES, FILES
from transports.store.upstream_copies import UpstreamCopies, UpstreamCopy

LONG = bytes(range(256)) * 3000
"""768,000 bytes: three pieces, of which the last is short."""


def made(store, ended=(), **limits):
    async def has_ended(owner):
        return owner in ended

    return StoredFiles(store, FileSettings(**limits), has_ended)


def file_of(identity, content, seconds=3600.0, created=100.0):
    return UploadedFile(
        id=identity,
        name=f"{identity}.txt",
        mime="text/plain",
        size=len(content),
        created=created,
        expires=created + seconds,
        digest="d1",
    )


async def put(files, owner, file, content):
    await files.begin(owner, msgspec.structs.replace(file, digest=""))
    for offset in range(0, len(content), files.piece_bytes):
        await files.append(owner, file, offset, content[offset : offset + files.piece_bytes])
    await files.finish(owner, file)


async def content_of(files, owner, file):
    return b"".join([piece async for piece in files.read(owner, file)])


async def left(store):
    return [key for collection in (FILES, FILE_INDEX, FILE_PIECES) for key in await store.keys(collection)]


async def test_a_file_belongs_to_its_license_until_it_is_deleted(open_store):
    store = await open_store()
    files, (first, second) = made(store), (file_of("b", LONG), file_of("a", b"x", created=101.0))
    await put(files, "me", first, LONG)
    await put(files, "me", second, b"x")
    assert await files.find("me", "b") == msgspec.structs.replace(first, received=len(LONG))
    assert await content_of(files, "me", first) == LONG
    assert [file.id for file in await files.list("me")] == ["b", "a"]
    assert await files.find("you", "b") is None
    assert await files.list("you") == []
    assert not await files.remove("you", "b")
    assert await files.remove("me", "b")
    assert not await files.remove("me", "b")
    assert len(await left(store)) == 3
    with pytest.raises(HttpError, match="was deleted: upload it again"):
        await content_of(files, "me", first)


@pytest.mark.parametrize("deleted", [True, False])
async def test_the_copies_of_a_deleted_or_expired_file_are_due_to_be_deleted_upstream(open_store, deleted):
    store = await open_store()
    files, copies = made(store), UpstreamCopies(store)
    seconds = 3600.0 if deleted else open_store.short
    await put(files, "me", msgspec.structs.replace(file_of("a", b"x", seconds=seconds), sent_as="aa"), b"x")
    await copies.note("project", "aa", UpstreamCopy("files/x", "https://api.test/v1beta/files/x"), 100.0)
    if deleted:
        assert await files.remove("me", "a")
    else:
        await files.sweep()
        assert await copies.due("project", 0.0) == []
        await open_store.elapse(2 * open_store.short)
        await files.sweep()
    assert await copies.due("project", 0.0) == ["files/x"]


async def test_expired_files_are_swept_while_the_gateway_runs(clock):
    store, swept = MemoryStore(clock), anyio.Event()

    async def has_ended(owner):
        swept.set()
        return True

    files = StoredFiles(store, FileSettings(), has_ended)
    await put(files, "me", file_of("a", b"x"), b"x")
    async with files.sweeping(clock):
        await anyio.wait_all_tasks_blocked()
        assert not swept.is_set()
        clock.advance(600.0)
        await swept.wait()


async def test_a_file_expires(open_store):
    store = await open_store()
    files, file = made(store), file_of("a", b"x", seconds=open_store.short)
    await put(files, "me", file, b"x")
    await open_store.elapse(2 * open_store.short)
    assert await files.find("me", "a") is None
    assert await files.list("me") == []
    await files.sweep()
    assert await left(store) == []


@pytest.mark.parametrize(
    ("limits", "setting"),
    [
        ({"files_per_license": 1}, "files.files_per_license"),
        ({"bytes_per_license": 15}, "files.bytes_per_license"),
        ({"total_bytes": 15}, "files.total_bytes"),
    ],
)
async def test_an_upload_above_a_limit_is_refused_by_the_name_of_the_setting(open_store, limits, setting):
    store = await open_store()
    files, other = made(store, **limits), "you" if "total_bytes" in limits else "me"
    await put(files, other, file_of("a", b"ten bytes!"), b"ten bytes!")
    with pytest.raises(HttpError, match=setting) as refused:
        await files.begin("me", file_of("b", b"ten bytes!"))
    assert (refused.value.status, refused.value.code) == (429, "file_storage_full")
    assert await files.find("me", "b") is None
    assert await files.remove(other, "a")
    await put(files, "me", file_of("b", b"ten bytes!"), b"ten bytes!")


async def test_an_id_is_given_once(open_store):
    files = made(await open_store())
    await put(files, "me", file_of("a", b"x"), b"x")
    with pytest.raises(HttpError) as refused:
        await files.begin("me", file_of("a", b"y"))
    assert (refused.value.status, refused.value.code) == (409, "file_exists")
    await put(files, "you", file_of("a", b"y"), b"y")


async def test_an_upload_is_not_listed_before_its_end(open_store):
    files, file = made(await open_store()), file_of("a", LONG)
    await files.begin("me", msgspec.structs.replace(file, digest=""))
    await files.append("me", file, 0, LONG[: files.piece_bytes])
    assert await files.list("me") == []
    found = await files.find("me", "a")
    assert (found.complete, found.received) == (False, files.piece_bytes)


async def test_what_an_abandoned_upload_leaves_makes_room_for_others(open_store):
    store = await open_store()
    files, file = made(store, bytes_per_license=800_000), file_of("a", LONG)
    await files.begin("me", msgspec.structs.replace(file, digest=""))
    await files.append("me", file, 0, LONG)
    await store.remove(FILES, "me/a")  # as it expires
    await put(files, "me", file_of("b", LONG), LONG)
    assert {key.split("/")[1] for key in await left(store)} == {"b"}


async def test_the_files_of_a_revoked_license_are_deleted(open_store):
    store, ended = await open_store(), set()
    files = made(store, ended)
    for owner in ("me+1", "me+2"):
        await put(files, owner, file_of("a", b"x"), b"x")
    await files.sweep()
    assert len(await left(store)) == 6
    ended.add("me+1")
    await files.sweep()
    assert {key.split("/")[0] for key in await left(store)} == {"me+2"}


@pytest.mark.parametrize("identity", ["", "a/b", "../a", "ä", "x" * 129])
async def test_an_id_of_another_form_is_unknown(clock, identity):
    files = made(MemoryStore(clock))
    assert await files.find("me", identity) is None
    assert not await files.remove("me", identity)


async def test_a_store_that_fails_is_an_error_for_the_client(clock):
    class Down(MemoryStore):
        async def _write(self, changes):
            raise StoreDown

    with pytest.raises(Saturated):
        await made(Down(clock)).begin("me", file_of("a", b"x"))


def test_names_and_contents_are_encrypted():
    assert FILES.encrypted
    assert FILE_PIECES.encrypted
