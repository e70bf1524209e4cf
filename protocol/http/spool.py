"""Keeps large files of requests on disk, so that they use no memory.

A file has no name and is readable by its owner alone, so the system deletes it when the process ends in any way. A
folder in memory (tmpfs) saves nothing: its files count as memory.
"""

import os
import tempfile
import threading
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from copy import copy
from functools import partial
from hashlib import blake2b
from pathlib import Path

import msgspec
import structlog

from protocol.http.budget import ByteBudget, Reservation
from protocol.http.fair_slots import HELD_PER_FREE
from protocol.http.parallel import WorkerThreads, in_thread
from protocol.model import Content, Saturated, StoredFile, TooLong

_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_RETRY_SECONDS = 5.0
TOTAL = 1536 * 1024 * 1024

_log = structlog.get_logger()


class _Usage:
    """The files of a spool, and their bytes by license."""

    def __init__(self) -> None:
        self.files = self.size = self.refused = 0
        self.size_of: Counter[str] = Counter()
        self.closed: deque[tuple[str, int]] = deque()
        """Owners and sizes of closed files; without a lock, since a file may be closed in any thread at any time."""
        self.lock = threading.Lock()

    def count_closed(self) -> None:
        """Remove the closed files; call this with the lock."""
        while self.closed:
            owner, size = self.closed.popleft()
            self.files -= 1
            self.size -= size
            self.size_of[owner] -= size
            if not self.size_of[owner]:
                del self.size_of[owner]


class Spool:
    """Creates temporary files and limits their total size, and what a license may use of it."""

    def __init__(self, folder: Path | None = None, total: int = TOTAL) -> None:
        """Create files in `folder`, by default the system's folder for temporary files; `total` is in bytes."""
        self.folder = Path(tempfile.gettempdir()) if folder is None else folder
        self.total = total
        self.in_memory = is_memory(self.folder)
        self._usage, self.owner = _Usage(), ""

    def of(self, owner: str) -> "Spool":
        """Return the same spool for the files of a license, which may use three bytes per free one."""
        found = copy(self)
        found.owner = owner
        return found

    @property
    def refused(self) -> int:
        """The number of files that were refused, since the process began."""
        return self._usage.refused

    @property
    def used(self) -> int:
        """The size of all files."""
        with self._usage.lock:
            self._usage.count_closed()
            return self._usage.size

    @property
    def files(self) -> int:
        """The number of open files."""
        with self._usage.lock:
            self._usage.count_closed()
            return self._usage.files

    def file(self, most: int) -> "Spooled":
        """Create a file that keeps at most `most` bytes.

        Raises:
            Saturated: the file cannot be created.

        """
        try:
            made = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115 -- its descriptor is kept
            with made:
                descriptor = os.dup(made.fileno())
        except OSError as error:
            raise self.no_space(error) from None
        with self._usage.lock:
            self._usage.files += 1
        return Spooled(self, descriptor, most)

    def take(self, size: int) -> None:
        """Count bytes that are written.

        Raises:
            Saturated: the total is exceeded, or the license's part of it.

        """
        usage, owner = self._usage, self.owner
        with usage.lock:
            usage.count_closed()
            free = self.total - usage.size - size
            fits = free >= 0 and (not owner or usage.size_of[owner] + size <= HELD_PER_FREE * free)
            if fits:
                usage.size += size
                usage.size_of[owner] += size
        if not fits:
            raise self.no_space()

    def give_back(self, size: int) -> None:
        """Remove a file from the counts."""
        self._usage.closed.append((self.owner, size))

    def no_space(self, error: OSError | None = None) -> Saturated:
        """Count a refusal and return its error; log the `error` of the disk, without which the total is exceeded."""
        self._usage.refused += 1
        if error is not None:
            _log.error("spool_write_failed", folder=str(self.folder), error=error.strerror)
        return Saturated("The gateway has no space left for files.", retry_after=_RETRY_SECONDS)


class _Closed(msgspec.Struct):
    """Gives the bytes of a file back when it is closed."""

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
        """The number of written bytes, kept or not."""
        return self._file.size

    def write(self, data: bytes | bytearray) -> None:
        """Append data; bytes beyond `most` are counted and dropped.

        Raises:
            Saturated: the disk is full.

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
        except OSError as error:
            raise self._spool.no_space(error) from None

    def finish(self) -> StoredFile:
        """Return the file; its size exceeds the limit if it is incomplete."""
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


_SHORT_BYTES = 256 * 1024
"""A longer file goes to disk."""
_BLOCK_BYTES = 512 * 1024
_WORKING_BYTES = 2 * 1024 * 1024
"""The memory that a file takes while it is collected."""
_FREE_BYTES = 64 * 1024

_threads = WorkerThreads("collect")


class ContentWriter:
    """A writable binary file, as `Image.save` takes one; more than 256 KiB go to disk."""

    def __init__(self, spool: Spool, most: int) -> None:
        """Take at most `most` bytes."""
        self._spool, self._most = spool, most
        self._block = bytearray()
        self._file: Spooled | None = None
        self.size = 0

    def write(self, data: bytes | bytearray) -> int:
        """Append data; return its length.

        Raises:
            TooLong: the content is too long.
            Saturated: the disk is full.

        """
        self.size += len(data)
        if self.size > self._most:
            raise TooLong
        self._block += data
        if self._file is None and len(self._block) > _SHORT_BYTES:
            self._file = self._spool.file(self._most)
        if len(self._block) >= _BLOCK_BYTES:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Write the part of a long file that is still in memory.

        Raises:
            Saturated: the disk is full.

        """
        if self._file is not None:
            self._file.write(self._block)
            self._block = bytearray()

    def drop(self) -> None:
        """Drop the content: a traceback may keep this object alive."""
        self._file, self._block = None, bytearray()

    def finish(self) -> Content:
        """Return the content.

        Raises:
            Saturated: the disk is full.

        """
        self.flush()
        return bytes(self._block) if self._file is None else self._file.finish()


class ContentSink(ContentWriter):
    """Takes a body that is a file (a `Sink` of `protocol.http.body`)."""

    @property
    def resident(self) -> int:
        """The number of bytes in memory."""
        return len(self._block)

    @property
    def stored(self) -> int:
        """The number of bytes on disk."""
        return self.size - len(self._block)

    def feed(self, block: bytes) -> None:
        """Append a block of the body."""
        self.write(block)


async def collect(pieces: AsyncIterable[bytes], hold: Reservation, spool: Spool, most: int) -> Content:
    """Collect a file of at most `most` bytes; `hold` keeps the memory of its content reserved.

    Raises:
        TooLong: the file is larger.
        Saturated: the memory budget or the disk is full.
        GatewayError: as the iteration of `pieces` does.

    """
    await hold.add(_WORKING_BYTES)
    reserved = _WORKING_BYTES
    writer, block = ContentWriter(spool, most), bytearray()
    try:
        async for piece in pieces:
            block += piece
            if len(block) < _BLOCK_BYTES:
                continue
            if spool.in_memory:
                await hold.add(len(block))
                reserved += len(block)
            await _in_writer(writer, block)
            block = bytearray()
        await _in_writer(writer, block)
        if writer.size > _SHORT_BYTES:
            await in_thread(writer.flush)
        content = writer.finish()
    except BaseException:
        del block
        writer.drop()
        hold.lower_by(reserved)
        raise
    in_memory = isinstance(content, bytes) or spool.in_memory
    hold.lower_by(reserved - (len(content) if in_memory and len(content) > _FREE_BYTES else 0))
    return content


async def _in_writer(writer: ContentWriter, block: bytearray) -> None:
    """Write a block, in a thread if it may go to disk; at most two at once."""
    if writer.size + len(block) <= _SHORT_BYTES:
        writer.write(block)
        return
    await _threads.run(partial(writer.write, block))


class Files:
    """Collects files outside of a request's context (`protocol.model.FileKeeper`)."""

    def __init__(self, memory: ByteBudget, spool: Spool) -> None:
        """Reserve bytes of `memory`, and keep long files in `spool`."""
        self._memory, self._spool = memory, spool

    @asynccontextmanager
    async def collected(self, pieces: AsyncIterable[bytes], *, owner: str, most: int) -> AsyncGenerator[Content]:
        """Yield the content of a file; as `protocol.model.FileKeeper`."""
        hold = Reservation(self._memory, owner)
        try:
            yield await collect(pieces, hold, self._spool.of(owner), most)
        finally:
            hold.release()

    @asynccontextmanager
    async def reserved(self, size: int, *, owner: str) -> AsyncGenerator[None]:
        """Reserve memory; as `protocol.model.FileKeeper`."""
        hold = Reservation(self._memory, owner)
        try:
            await hold.raise_to(min(size, self._memory.total))
            yield
        finally:
            hold.release()
