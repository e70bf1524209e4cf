"""The contract of `transports.store.pieces`, tested with every kind of store."""

import pytest

from transports.store.pieces import PIECE_BYTES, PieceMissing, StoredPieces, piece_keys
from transports.store.port import FILE_PIECES

LONG = bytes(range(256)) * (PIECE_BYTES // 256) * 2 + b"the end"


@pytest.fixture
async def store(open_store):
    return await open_store()


async def read(pieces, key, size):
    return b"".join([piece async for piece in pieces.read(key, size)])


async def test_a_content_is_read_as_it_was_written(store):
    pieces = StoredPieces(store, FILE_PIECES)
    await pieces.put("a", LONG[:PIECE_BYTES], seconds=1000)
    await pieces.put("a", LONG[PIECE_BYTES:], offset=PIECE_BYTES, seconds=1000)
    assert await read(pieces, "a", len(LONG)) == LONG
    assert await read(pieces, "empty", 0) == b""


async def test_a_content_that_lost_a_piece_is_missing(store):
    pieces = StoredPieces(store, FILE_PIECES)
    await pieces.put("a", LONG, seconds=1000)
    await store.remove(FILE_PIECES, piece_keys("a", len(LONG))[1])
    with pytest.raises(PieceMissing):
        await read(pieces, "a", len(LONG))


async def test_removing_a_content_removes_its_pieces_only(store):
    pieces = StoredPieces(store, FILE_PIECES)
    for key in ("a", "ab"):
        await pieces.put(key, LONG, seconds=1000)
    await pieces.remove("a", len(LONG))
    assert await store.keys(FILE_PIECES) == piece_keys("ab", len(LONG))
