"""Files that clients upload once and name by id in later requests."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from protocol.model.stored import Content


class UploadedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that a client has uploaded, or is uploading, without its content."""

    id: str
    name: str
    """The file name that the client sent; it is only shown."""
    mime: str
    """The media type, detected from the bytes."""
    size: int
    created: float
    """Epoch seconds."""
    expires: float
    """Epoch seconds."""
    received: int = 0
    """How many bytes of the content are stored."""
    purpose: str = ""
    """What the client wants to use it for, in the words of its dialect."""
    digest: str = ""
    """SHA-256 of the content, in hexadecimal; empty: it is not complete."""
    sent_as: str = ""
    """`FilePart.digest` of the file as requests send it, in hexadecimal."""

    @property
    def complete(self) -> bool:
        """Whether its content is complete; requests can name it from then on."""
        return bool(self.digest)


class UploadTicket(msgspec.Struct, frozen=True, kw_only=True):
    """What a ticket allows: to upload the content of one file, without a license key."""

    owner: str
    file_id: str


class FileStore(Protocol):
    """Stores files for a while. A license can access only its own, by its `Caller.owner`.

    A file is written in this order: `begin`, `append` for each part of its content, `finish`. Every method raises
    Saturated if the store failed.
    """

    @property
    def retention_seconds(self) -> float:
        """How long a file is kept, unless its client wants less."""
        ...

    @property
    def piece_bytes(self) -> int:
        """Every part of a content but the last one must have a multiple of this length."""
        ...

    async def begin(self, owner: str, file: UploadedFile) -> None:
        """Reserve space for a file that has no content yet; it is forgotten if it is not finished within an hour.

        Raises:
            HttpError: the license has another file with this id (409), or there is no space for the file (429).

        """
        ...

    async def append(self, owner: str, file: UploadedFile, offset: int, content: Content) -> None:
        """Store the part of a content that begins at `offset`."""
        ...

    async def finish(self, owner: str, file: UploadedFile) -> None:
        """Store a complete file under the id that `begin` reserved."""
        ...

    async def open_ticket(self, ticket: UploadTicket) -> str:
        """Return a secret that stands for a ticket for an hour, for the URL of an upload."""
        ...

    async def ticket(self, secret: str) -> UploadTicket | None:
        """Return the ticket of a secret, or None."""
        ...

    async def find(self, owner: str, file_id: str) -> UploadedFile | None:
        """Return a file of a license, complete or not; None: there is none."""
        ...

    async def list(self, owner: str) -> Sequence[UploadedFile]:
        """Return the complete files of a license, oldest first."""
        ...

    def read(self, owner: str, file: UploadedFile) -> AsyncIterator[bytes]:
        """Yield the content of a file.

        Raises:
            HttpError: it was deleted (404).

        """
        ...

    async def remove(self, owner: str, file_id: str) -> bool:
        """Delete a file of a license; return whether it existed."""
        ...
