"""Caches media on disk, so that media URLs outlive the upstream's: opened files stay until the space is needed.

A file is written under a `.partial` name, locked, and renamed when complete, so that several processes can share the
folder. The least recently used files are removed first. If the disk is full or the folder cannot be used, media are
passed on without being kept: from the part that was written, then from the upstream.
"""

import fcntl
import io
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread
import structlog

from protocol.model import MediaStream
from transports.clock import SystemClock

_PIECE_BYTES = 64 * 1024
_PARTIAL = ".partial"
"""Suffix of files that are being written. The writing process holds a lock, which ends with the process."""
_PARTIAL_SECONDS = 3600.0
"""If files cannot be locked, a partial file that was not written to for this long is abandoned."""

_log = structlog.get_logger()


class MediaCache:
    """A folder of limited size with least-recently-used eviction; several processes may share it."""

    def __init__(self, folder: Path, most_bytes: int, failed: Callable[[], None] = lambda: None) -> None:
        """Cache files below `folder`, which is created if missing; call `failed` for each file that was not kept.

        Raises:
            OSError: the folder cannot be created.

        """
        self._folder, self._most, self._failed = folder, most_bytes, failed
        self._arriving = 0
        """Bytes of the files that are being written."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        abandoned = SystemClock().wall() - _PARTIAL_SECONDS
        for path in folder.glob(f"*{_PARTIAL}"):
            with suppress(FileNotFoundError), path.open("rb") as file:
                locked = _lock(file.fileno())
                if locked or (locked is None and path.stat().st_mtime < abandoned):
                    path.unlink()  # its process was killed

    @asynccontextmanager
    async def open(self, name: str, source: AbstractAsyncContextManager[MediaStream]) -> AsyncGenerator[MediaStream]:
        """Yield the file cached under `name`; if there is none, read all of `source` into the cache first.

        Raises:
            GatewayError: as raised by `source`.

        """
        cached = await anyio.to_thread.run_sync(self._lookup, name)
        if cached is None:
            async with source as stream:
                length = stream.length or 0
                if self._arriving + length > self._most:  # too large for the cache: pass it on
                    yield stream
                    return
                self._arriving += length
                try:
                    cached = await self._store(name, stream)
                finally:
                    self._arriving -= length
                if not isinstance(cached, _CachedFile):  # while the source is open
                    with cached.file:
                        yield cached
                    return
        with cached.file:
            yield cached

    def _lookup(self, name: str) -> "_CachedFile | None":
        for path in self._folder.glob(f"{name}.*"):
            if path.suffix == _PARTIAL:
                continue
            try:
                os.utime(path)
                return _CachedFile(path.open("rb"), path.suffix)
            except OSError:  # another process made room, or the folder cannot be used
                continue
        return None

    async def _store(self, name: str, stream: MediaStream) -> "_CachedFile | _PassedOn":
        """Read all of the stream into a file; if that fails, return what was written and the rest of the stream."""
        suffix, pieces = f".{stream.mime.replace('/', '_')}", aiter(stream)
        passed = _PassedOn(stream, pieces)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, partial = tempfile.mkstemp(suffix=_PARTIAL, dir=self._folder)
        except OSError as error:
            return self._pass_on(passed, error)
        file = passed.file = os.fdopen(handle, "w+b", buffering=0)
        _lock(handle)
        try:
            async for piece in pieces:
                passed.unwritten = piece
                await anyio.to_thread.run_sync(passed.write)
            file.seek(0)
            await anyio.to_thread.run_sync(self._publish, Path(partial), self._folder / f"{name}{suffix}")
        except BaseException as error:
            _drop(Path(partial))
            if isinstance(error, OSError):
                return self._pass_on(passed, error)
            file.close()
            raise
        return _CachedFile(file, suffix)

    def _pass_on(self, passed: "_PassedOn", error: OSError) -> "_PassedOn":
        """Log and count a file that is not kept."""
        _log.error("media_cache_write_failed", folder=str(self._folder), error=error.strerror)
        self._failed()
        return passed

    def _publish(self, partial: Path, path: Path) -> None:
        """Give a complete file its name, and remove the least recently used files beyond the cache's size."""
        partial.replace(path)
        files: list[tuple[float, int, Path]] = []
        for found in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another process made room
                status = found.stat()
                if found.suffix != _PARTIAL:
                    files.append((status.st_mtime, status.st_size, found))
        left = self._most
        for _, size, cached in sorted(files, reverse=True):
            left -= size
            if left < 0 and cached != path:
                cached.unlink(missing_ok=True)


def _lock(descriptor: int) -> bool | None:
    """Lock a file until it is closed; False: another process has locked it; None: files cannot be locked here."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _drop(path: Path) -> None:
    with suppress(OSError):  # the folder may be gone
        path.unlink()


class _PassedOn:
    """A stream whose file could not be kept: first the part that was written, then the rest."""

    def __init__(self, stream: MediaStream, pieces: AsyncIterator[bytes]) -> None:
        self.mime, self.length, self._pieces = stream.mime, stream.length, pieces
        self.file: io.FileIO | io.BytesIO = io.BytesIO()
        self.unwritten = b""

    def write(self) -> None:
        """Write the piece that was read last; what an error leaves of it stays in `unwritten`."""
        while self.unwritten:
            self.unwritten = self.unwritten[self.file.write(self.unwritten) :]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.file.seek(0)
        while piece := await anyio.to_thread.run_sync(self.file.read, _PIECE_BYTES):
            yield piece
        if self.unwritten:
            yield self.unwritten
        async for piece in self._pieces:
            yield piece


class _CachedFile:
    """An open file of the cache, as a media stream."""

    def __init__(self, file: BinaryIO, suffix: str) -> None:
        self.file = file
        self.mime = suffix.removeprefix(".").replace("_", "/", 1)
        self.length = os.fstat(file.fileno()).st_size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        reading = anyio.wrap_file(self.file)
        while piece := await reading.read(_PIECE_BYTES):
            yield piece
