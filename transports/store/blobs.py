"""Files that an upstream sent within its answers, kept in the store until their links have expired.

A file is a record with its type and length, an entry of an index, and pieces (`transports.store.pieces`). The entry is
written first and the record last, so a file that can be found is complete, and the index covers all that is stored. All
expire; a file whose writing was cut off does, too.

The index bounds the bytes of all files. If a new file exceeds the bound, the oldest files of the license that has the
most bytes are removed, so a license that makes very many pictures loses its own.
"""

import secrets
from collections import Counter
from collections.abc import AsyncIterator

import msgspec

from protocol.model import Content
from transports.store.pieces import PieceMissing, StoredPieces
from transports.store.port import BLOB_INDEX, BLOB_PIECES, BLOBS, Records, Unreadable

_WRITING_SECONDS = 600.0
"""How long the parts of a file outlive its record, which is written last."""


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """A file in the store, without its content."""

    token: str
    """Its name, which cannot be guessed."""
    mime: str
    size: int

    @classmethod
    def new(cls, mime: str, size: int) -> "Blob":
        """Return a new file with a token of its own."""
        return cls(token=secrets.token_urlsafe(24), mime=mime, size=size)


class BlobMissing(LookupError):
    """The file has expired, or was removed for newer ones."""


class Blobs:
    """The files. Every method may raise OSError if the store fails."""

    def __init__(self, records: Records, seconds: float, total_bytes: int) -> None:
        """Keep files for `seconds`, in at most `total_bytes`; a single file may be longer."""
        self._records, self._seconds, self._total = records, seconds, total_bytes
        self._pieces = StoredPieces(records, BLOB_PIECES)

    async def keep(self, owner: str, blob: Blob, content: Content) -> None:
        """Store a file that a license (`owner`) has got, and remove others if there are too many."""
        entry = f"{await self._records.now():017.6f}/{owner}/{blob.token}/{blob.size}"
        seconds = self._seconds + _WRITING_SECONDS
        await self._records.put(BLOB_INDEX, entry, b"", seconds=seconds)
        await self._make_room(entry)
        await self._pieces.put(blob.token, content, seconds=seconds)
        await self._records.put(BLOBS, blob.token, msgspec.json.encode(blob), seconds=self._seconds)

    async def find(self, token: str) -> Blob | None:
        """Return a file; None: it has expired, or was removed."""
        try:
            record = await self._records.get(BLOBS, token)
        except Unreadable:
            return None
        return msgspec.json.decode(record.value, type=Blob) if record is not None else None

    async def read(self, blob: Blob) -> AsyncIterator[bytes]:
        """Yield the content of a file.

        Raises:
            BlobMissing: it has expired or was removed meanwhile.

        """
        try:
            async for piece in self._pieces.read(blob.token, blob.size):
                yield piece
        except PieceMissing:
            raise BlobMissing(blob.token) from None

    async def _make_room(self, new: str) -> None:
        """Remove files until all fit; the entry `new` stays."""
        entries = await self._records.keys(BLOB_INDEX)  # oldest first
        sizes = {entry: int(entry.rpartition("/")[2]) for entry in entries}
        over = sum(sizes.values()) - self._total
        held: Counter[str] = Counter()
        for entry, size in sizes.items():
            held[entry.split("/")[1]] += size
        while over > 0 and (others := [entry for entry in sizes if entry != new]):
            owner = max((entry.split("/")[1] for entry in others), key=held.__getitem__)
            oldest = next(entry for entry in others if entry.split("/")[1] == owner)
            over -= sizes[oldest]
            held[owner] -= sizes.pop(oldest)
            _, _, token, size = oldest.split("/")
            await self._records.remove(BLOBS, token)
            await self._pieces.remove(token, int(size))
            await self._records.remove(BLOB_INDEX, oldest)
