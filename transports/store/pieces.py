"""Long contents in the store, cut into pieces that every store writes and reads in about a millisecond.

A piece has the key of its content and a number. Nothing lists the pieces, because SQLite reads all of a long record to
find out whether it has expired: their keys follow from the size.

Example: the content `file` of 300,000 bytes has the pieces `file/000000` and `file/000001`.
"""

from collections.abc import AsyncIterator

import anyio.lowlevel

from protocol.model import Content, viewed
from transports.store.port import Change, Collection, Records, Unreadable

PIECE_BYTES = 256 * 1024
_REMOVED_AT_ONCE = 2
"""Few, since each takes SQLite milliseconds."""


class PieceMissing(LookupError):
    """A piece has expired, was removed, or cannot be decrypted."""


class StoredPieces:
    """The contents of one collection. Every method may raise StoreDown."""

    def __init__(self, records: Records, collection: Collection) -> None:
        """Keep pieces in `collection`."""
        self._records, self._collection = records, collection

    async def put(self, key: str, content: Content, *, offset: int = 0, seconds: float) -> None:
        """Store the part of a content that begins at `offset`, a multiple of the length of a piece."""
        with viewed(content) as view:
            for number, start in enumerate(range(0, len(view), PIECE_BYTES), offset // PIECE_BYTES):
                piece = bytes(view[start : start + PIECE_BYTES])
                await self._records.put(self._collection, f"{key}/{number:06d}", piece, seconds=seconds)
                await anyio.lowlevel.checkpoint()

    async def read(self, key: str, size: int) -> AsyncIterator[bytes]:
        """Yield the pieces of a content of `size` bytes.

        Raises:
            PieceMissing: one is missing.

        """
        for piece_key in piece_keys(key, size):
            try:
                record = await self._records.get(self._collection, piece_key)
            except Unreadable:
                record = None
            if record is None:
                raise PieceMissing(piece_key)
            yield record.value

    async def remove(self, key: str, size: int) -> None:
        """Remove the pieces of a content of `size` bytes."""
        changes = [Change(collection=self._collection, key=one, value=None) for one in piece_keys(key, size)]
        for start in range(0, len(changes), _REMOVED_AT_ONCE):
            await self._records.write(changes[start : start + _REMOVED_AT_ONCE])
            await anyio.lowlevel.checkpoint()


def piece_keys(key: str, size: int) -> list[str]:
    """Return the keys of the pieces of a content."""
    return [f"{key}/{number:06d}" for number in range(-(-size // PIECE_BYTES))]
