"""The contract of `transports.store.blobs`, tested with every kind of store."""

import anyio
import anyio.lowlevel
import pytest

from transports.store.blobs import Blob, BlobMissing, Blobs
from transports.store.pieces import PIECE_BYTES
from transports.store.port import BLOB_INDEX, BLOB_PIECES, BLOBS

PICTURE = b"\x89PNG" + bytes(PIECE_BYTES)
ROOM = 3 * len(PICTURE)


async def kept(blobs, *owners, between=anyio.lowlevel.checkpoint):
    """Keep a file for each owner; the time between them tells which is older."""
    files = [Blob.new("image/png", len(PICTURE)) for _ in owners]
    for owner, blob in zip(owners, files, strict=True):
        await blobs.keep(owner, blob, PICTURE)
        await between()
    return files


@pytest.fixture
def instant(open_store):
    return lambda: open_store.elapse(0.001)


async def there(blobs, files):
    return [await blobs.find(one.token) is not None for one in files]


async def test_every_process_reads_a_kept_file(open_store):
    one, other = Blobs(await open_store(), 1000, ROOM), Blobs(await open_store(), 1000, ROOM)
    (blob,) = await kept(one, "me")
    assert await other.find(blob.token) == blob
    assert b"".join([piece async for piece in other.read(blob)]) == PICTURE
    assert await other.find("another") is None


async def test_a_file_expires(open_store):
    blobs = Blobs(await open_store(), open_store.short, ROOM)
    files = await kept(blobs, "me")
    await open_store.elapse(open_store.short)
    assert await there(blobs, files) == [False]


async def test_the_oldest_files_are_removed_when_there_is_no_room(open_store, instant):
    store = await open_store()
    blobs = Blobs(store, 1000, ROOM)
    files = await kept(blobs, "me", "me", "me", "me", "me", between=instant)
    assert await there(blobs, files) == [False, False, True, True, True]
    assert len(await store.keys(BLOBS)) == len(await store.keys(BLOB_INDEX)) == 3
    assert len(await store.keys(BLOB_PIECES)) == 3 * 2
    with pytest.raises(BlobMissing):
        [piece async for piece in blobs.read(files[0])]


async def test_a_license_with_many_files_loses_its_own(open_store, instant):
    blobs = Blobs(await open_store(), 1000, ROOM)
    files = await kept(blobs, "other", "greedy", "greedy", "greedy", "greedy", between=instant)
    assert await there(blobs, files) == [True, False, False, True, True]


async def test_a_file_above_the_limit_replaces_all_others(open_store):
    blobs = Blobs(await open_store(), 1000, len(PICTURE) - 1)
    files = await kept(blobs, "me", "other")
    assert await there(blobs, files) == [False, True]
