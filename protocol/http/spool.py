"""Keeps large files of requests on disk, so that they use no memory.

A file is made without a name (or loses it at once), for its owner alone: nothing is left of it when the process ends,
however that happens. A folder that is memory itself (tmpfs) gains nothing: its files count as memory.
"""

import os
import tempfile
import threading
from collections import deque
from hashlib import blake2b
from pathlib import Path

import msgspec

from protocol.model import Saturated, StoredFile

_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_RETRY_SECONDS = 5.0
TOTAL = 1536 * 1024 * 1024


class Spool:
    """Creates temporary files and limits their total size."""

    def __init__(self, folder: Path | None = None, total: int = TOTAL) -> None:
        """Make files in `folder`, by default the system's for temporary files; `total` is in bytes."""
        self.folder = Path(tempfile.gettempdir()) if folder is None else folder
        self.total = total
        self.in_memory = is_memory(self.folder)
        self.refused = 0
        """How many files found no space, since the process began."""
        self._used = self._files = 0
        self._returned: deque[int] = deque()
        """Bytes of files that were closed: that can happen anywhere, so it takes no lock."""
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """How many bytes all files hold."""
        with self._lock:
            self._count_returned()
            return self._used

    @property
    def files(self) -> int:
        """How many files there are."""
        with self._lock:
            self._count_returned()
            return self._files

    def _count_returned(self) -> None:
        while self._returned:
            self._used -= self._returned.popleft()
            self._files -= 1

    def file(self, most: int) -> "Spooled":
        """Return a file to write to, which keeps `most` bytes.

        Raises:
            Saturated: it cannot be made.

        """
        try:
            made = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115 -- its descriptor is kept
            with made:
                descriptor = os.dup(made.fileno())
        except OSError:
            raise self.no_space() from None
        with self._lock:
            self._files += 1
        return Spooled(self, descriptor, most)

    def take(self, size: int) -> None:
        """Count bytes in.

        Raises:
            Saturated: there are too many.

        """
        if self.used + size > self.total:
            raise self.no_space()
        with self._lock:
            self._used += size

    def give_back(self, size: int) -> None:
        """Remove a file from the counts."""
        self._returned.append(size)

    def no_space(self) -> Saturated:
        """Count a refusal; return the error of a file that there is no space for."""
        self.refused += 1
        return Saturated("The gateway has no space left for files.", retry_after=_RETRY_SECONDS)


class _Closed(msgspec.Struct):
    """Counts the bytes of a file out when it is closed."""

    spool: Spool
    size: int = 0

    def __call__(self) -> None:
        self.spool.give_back(self.size)


class Spooled:
    """A file that is being written."""

    def __init__(self, spool: Spool, descriptor: int, most: int) -> None:
        """Write to an open file."""
        self._spool, self._most = spool, most
        self._closed = _Closed(spool)
        self._digest = blake2b(digest_size=32)
        self._file = StoredFile(descriptor, 0, b"", self._closed)
        self._descriptor = descriptor

    @property
    def size(self) -> int:
        """How many bytes came, kept or not."""
        return self._file.size

    def write(self, data: bytes | bytearray) -> None:
        """Append data; what comes after `most` bytes is counted and not kept.

        Raises:
            Saturated: there is no space.

        """
        self._file.size += len(data)
        if self._file.size > self._most:
            return
        self._spool.take(len(data))
        self._closed.size += len(data)
        self._digest.update(data)
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            raise self._spool.no_space() from None

    def finish(self) -> StoredFile:
        """Return the file; its size tells whether all of it was kept."""
        self._file.digest = self._digest.digest()
        return self._file


def is_memory(folder: Path, mounts: Path = _MOUNTS) -> bool:
    """Return whether the files of a folder are in memory."""
    try:
        lines = mounts.read_text("utf-8").splitlines()
        inside = folder.resolve()
    except OSError:
        return False
    best, kind = Path("/"), ""
    for line in lines:
        head, _, tail = line.partition(" - ")
        at = Path(head.split(" ")[4].replace("\\040", " "))
        if inside.is_relative_to(at) and len(at.parts) >= len(best.parts):
            best, kind = at, tail.split(" ")[0]
    return kind in _IN_MEMORY
