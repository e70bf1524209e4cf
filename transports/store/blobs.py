"""Files that an upstream sent within its answers, kept in the store until their links have expired.

A file is a record with its type and length, and pieces that every store writes and reads in about a millisecond. The
record is written last, so a file that can be found is complete. All expire; a file whose writing was cut off does, too.
"""

import secrets
from collections.abc import AsyncIterator

import anyio.lowlevel
import msgspec

from protocol.model import Content, viewed
from transports.store.port import BLOB_PIECES, BLOBS, Records

_PIECE_BYTES = 256 * 1024


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
    """The file has expired."""


class Blobs:
    """The files. Every method may raise OSError if the store fails."""

    def __init__(self, records: Records, seconds: float) -> None:
        """Keep files for `seconds`."""
        self._records, self._seconds = records, seconds

    async def keep(self, blob: Blob, content: Content) -> None:
        """Store a file."""
        with viewed(content) as view:
            for number, start in enumerate(range(0, len(view), _PIECE_BYTES)):
                piece = bytes(view[start : start + _PIECE_BYTES])
                await self._records.put(BLOB_PIECES, f"{blob.token}/{number:06d}", piece, seconds=self._seconds)
                await anyio.lowlevel.checkpoint()
        await self._records.put(BLOBS, blob.token, msgspec.json.encode(blob), seconds=self._seconds)

    async def find(self, token: str) -> Blob | None:
        """Return a file; None: it has expired."""
        record = await self._records.get(BLOBS, token)
        return msgspec.json.decode(record.value, type=Blob) if record is not None else None

    async def read(self, blob: Blob) -> AsyncIterator[bytes]:
        """Yield the content of a file.

        Raises:
            BlobMissing: it has expired meanwhile.

        """
        for number in range(-(-blob.size // _PIECE_BYTES)):
            record = await self._records.get(BLOB_PIECES, f"{blob.token}/{number:06d}")
            if record is None:
                raise BlobMissing(blob.token)
            yield record.value
