"""File contents on disk, and how they are collected."""

import mmap
import os
from collections.abc import AsyncIterable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Protocol

View = bytes | mmap.mmap
"""Readable bytes, in memory or mapped from a file. Both can be indexed, sliced and searched."""

_PIECE = 512 * 1024
_NO_WAIT: int = getattr(os, "RWF_NOWAIT", 0)
"""Without this flag (0) a read may wait for the disk."""


class StoredFile:
    """Content in an unlinked file.

    The system deletes the file with the last reference to this object, or when the process ends. There is no read
    position: any number of readers, in any thread, may read at once.
    """

    def __init__(self, descriptor: int, size: int, digest: bytes, closed: Callable[[], None] | None = None) -> None:
        """Take ownership of an open file; `closed` is called after closing it. `digest` is BLAKE2b of 32 bytes."""
        self._descriptor, self.size, self.digest, self._closed = descriptor, size, digest, closed

    def __len__(self) -> int:
        """Return the number of bytes."""
        return self.size

    def __repr__(self) -> str:
        """Return a text without the content."""
        return f"StoredFile(bytes={self.size})"

    def __del__(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
        if self._closed is not None:
            self._closed()

    def read(self, at: int, size: int) -> bytes:
        """Return at most `size` bytes from offset `at`; empty at the end."""
        return os.pread(self._descriptor, size, at)

    def read_cached(self, at: int, size: int) -> bytes | None:
        """Return at most `size` bytes from offset `at` if the page cache has them, else None."""
        buffer = bytearray(min(size, self.size - at))
        try:
            read = os.preadv(self._descriptor, [buffer], at, _NO_WAIT)
        except OSError:
            return None
        return bytes(buffer) if read == len(buffer) else bytes(memoryview(buffer)[:read])

    def pieces(self) -> Iterator[bytes]:
        """Yield the content in pieces."""
        at = 0
        while piece := self.read(at, _PIECE):
            yield piece
            at += len(piece)

    def whole(self) -> bytes:
        """Read the content into memory."""
        return self.read(0, self.size)

    @contextmanager
    def view(self) -> Generator[View]:
        """Map the content into memory; pages are read when they are used."""
        with mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped


Content = bytes | StoredFile
"""The content of a file, in memory or on disk; both have a length."""


class TooLong(ValueError):
    """A file is larger than its limit."""


class FileKeeper(Protocol):
    """Collects files within the memory and disk budgets of the process."""

    def collected(self, pieces: AsyncIterable[bytes], *, owner: str, most: int) -> AbstractAsyncContextManager[Content]:
        """Collect a file of at most `most` bytes for a license (`owner`); memory is reserved until the context ends.

        Raises:
            TooLong: the file is larger.
            Saturated: the memory budget or the disk is full.
            GatewayError: as the iteration of `pieces` does.

        """
        ...

    def reserved(self, size: int, *, owner: str) -> AbstractAsyncContextManager[None]:
        """Reserve memory for a license until the context ends, at most all that there is.

        Raises:
            Saturated: the memory budget is full.

        """
        ...


@contextmanager
def viewed(content: Content) -> Generator[View]:
    """Yield a view of content without loading it."""
    if isinstance(content, bytes):
        yield content
    else:
        with content.view() as view:
            yield view
