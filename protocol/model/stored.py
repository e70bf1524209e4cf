"""A file's content on disk."""

import mmap
import os
from collections.abc import AsyncIterable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Protocol

View = bytes | mmap.mmap
"""Bytes to look at: in memory, or mapped from a file. Both can be indexed, sliced and searched."""

_PIECE = 512 * 1024
_NO_WAIT: int = getattr(os, "RWF_NOWAIT", 0)
"""Where the system does not know it, a read may wait for the disk."""


class StoredFile:
    """Content in a file that has no name in its folder any more.

    The file is gone with the last reference to this object, and with the process. It keeps no read
    position: any number of readers may read at once, in threads too.
    """

    def __init__(self, descriptor: int, size: int, digest: bytes, closed: Callable[[], None] | None = None) -> None:
        """Own an open file; `closed` is called when it is closed. `digest` is BLAKE2b of 32 bytes."""
        self._descriptor, self.size, self.digest, self._closed = descriptor, size, digest, closed

    def __len__(self) -> int:
        """Return the number of bytes."""
        return self.size

    def __repr__(self) -> str:
        """Show no content."""
        return f"StoredFile(bytes={self.size})"

    def __del__(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
        if self._closed is not None:
            self._closed()

    def read(self, at: int, size: int) -> bytes:
        """Return at most `size` bytes from `at` on; none at the end."""
        return os.pread(self._descriptor, size, at)

    def read_cached(self, at: int, size: int) -> bytes | None:
        """Return at most `size` bytes from `at` on if they need not be read from the disk; None: they do."""
        buffer = bytearray(min(size, self.size - at))
        try:
            read = os.preadv(self._descriptor, [buffer], at, _NO_WAIT)
        except OSError:
            return None
        return bytes(buffer) if read == len(buffer) else bytes(memoryview(buffer)[:read])

    def pieces(self) -> Iterator[bytes]:
        """Yield the content."""
        at = 0
        while piece := self.read(at, _PIECE):
            yield piece
            at += len(piece)

    def whole(self) -> bytes:
        """Return the content, in memory."""
        return self.read(0, self.size)

    @contextmanager
    def view(self) -> Generator[View]:
        """Map the content; what is looked at is read."""
        with mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped


Content = bytes | StoredFile
"""What a file holds, in memory or on disk; both have a length."""


class TooLong(ValueError):
    """A file has more bytes than it may have."""


class FileKeeper(Protocol):
    """Collects files within the process's budgets of memory and disk."""

    def collected(self, pieces: AsyncIterable[bytes], *, owner: str, most: int) -> AbstractAsyncContextManager[Content]:
        """Collect a file of at most `most` bytes for a license (`owner`); memory is reserved until the context ends.

        Raises:
            TooLong: there are more bytes.
            Saturated: there is no memory, or no space on disk.
            GatewayError: as the iteration of `pieces` does.

        """
        ...


@contextmanager
def viewed(content: Content) -> Generator[View]:
    """Look at content without loading it."""
    if isinstance(content, bytes):
        yield content
    else:
        with content.view() as view:
            yield view
