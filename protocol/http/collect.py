"""Collects a file that arrives in pieces: short files in memory, longer ones on disk."""

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from functools import partial

from protocol.http.budget import ByteBudget, Reservation
from protocol.http.spool import Spool, Spooled
from protocol.http.worker import WorkerThreads, in_thread
from protocol.model import Content, TooLong

_IN_MEMORY = 256 * 1024
"""A longer file goes to disk."""
_BLOCK_BYTES = 512 * 1024
_WORKING_BYTES = 2 * 1024 * 1024
"""What a file takes in memory while it is collected."""
_FREE_BYTES = 64 * 1024

_threads = WorkerThreads("collect")


class ContentWriter:
    """A binary file to write to, as `Image.save` takes one; one of more than 256 KiB goes to disk."""

    def __init__(self, spool: Spool, most: int) -> None:
        """Take at most `most` bytes."""
        self._spool, self._most = spool, most
        self._block = bytearray()
        self._file: Spooled | None = None
        self.size = 0

    def write(self, data: bytes | bytearray) -> int:
        """Append data; return its length.

        Raises:
            TooLong: there are more bytes than may be.
            Saturated: there is no space on disk.

        """
        self.size += len(data)
        if self.size > self._most:
            raise TooLong
        self._block += data
        if self._file is None and len(self._block) > _IN_MEMORY:
            self._file = self._spool.file(self._most)
        if len(self._block) >= _BLOCK_BYTES:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Write what is still in memory of a long file.

        Raises:
            Saturated: there is no space on disk.

        """
        if self._file is not None:
            self._file.write(self._block)
            self._block = bytearray()

    def drop(self) -> None:
        """Drop the content: a traceback may keep this object alive."""
        self._file, self._block = None, bytearray()

    def finish(self) -> Content:
        """Return what was written.

        Raises:
            Saturated: there is no space on disk.

        """
        self.flush()
        return bytes(self._block) if self._file is None else self._file.finish()


async def collect(pieces: AsyncIterable[bytes], hold: Reservation, spool: Spool, most: int) -> Content:
    """Return the content of a file of at most `most` bytes; `hold` keeps what of it is in memory reserved.

    Raises:
        TooLong: there are more bytes.
        Saturated: there is no memory, or no space on disk.
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
        if writer.size > _IN_MEMORY:
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
    """Write a block, in a thread where it may go to disk; no more than two at once."""
    if writer.size + len(block) <= _IN_MEMORY:
        writer.write(block)
        return
    await _threads.run(partial(writer.write, block))


class Files:
    """Collects files outside of a request's context (`protocol.model.FileKeeper`)."""

    def __init__(self, memory: ByteBudget, spool: Spool) -> None:
        """Reserve memory of `memory`, and keep long files in `spool`."""
        self._memory, self._spool = memory, spool

    @asynccontextmanager
    async def collected(self, pieces: AsyncIterable[bytes], *, owner: str, most: int) -> AsyncGenerator[Content]:
        """Yield the content of a file; as `protocol.model.FileKeeper`."""
        hold = Reservation(self._memory, owner)
        try:
            yield await collect(pieces, hold, self._spool, most)
        finally:
            hold.release()
