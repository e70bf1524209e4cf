"""Media kept on disk, so that links outlive the upstream's: what is opened once is kept until the room runs out."""

import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from protocol.model import MediaStream

_PIECE_BYTES = 64 * 1024
_PARTIAL = ".partial"


class Shelf:
    """A folder of so many bytes at the most; the longest unused goes first. Several processes may share it."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """Keep files below `folder`, made when missing.

        Raises:
            OSError: it cannot be made.

        """
        self._folder, self._most = folder, most_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @asynccontextmanager
    async def open(self, name: str, source: AbstractAsyncContextManager[MediaStream]) -> AsyncGenerator[MediaStream]:
        """Yield what is kept under `name`, taken whole from `source` first where nothing is.

        Raises:
            GatewayError: as `source` does.

        """
        path = await anyio.to_thread.run_sync(self._find, name)
        if path is None:
            async with source as stream:
                path = await self._keep(name, stream)
        async with await anyio.open_file(path, "rb") as file:
            yield _Kept(file, path)

    def _find(self, name: str) -> Path | None:
        path = next((path for path in self._folder.glob(f"{name}.*") if path.suffix != _PARTIAL), None)
        if path is not None:
            os.utime(path)
        return path

    async def _keep(self, name: str, stream: MediaStream) -> Path:
        handle, partial = tempfile.mkstemp(suffix=_PARTIAL, dir=self._folder)
        try:
            async with await anyio.open_file(handle, "wb") as file:
                async for piece in stream:
                    await file.write(piece)
            path = self._folder / f"{name}.{stream.mime.replace('/', '_')}"
            await anyio.to_thread.run_sync(self._place, Path(partial), path)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.Path(partial).unlink(missing_ok=True)
        return path

    def _place(self, partial: Path, path: Path) -> None:
        partial.replace(path)
        left = self._most
        for _, size, kept in sorted(self._kept(), reverse=True):
            left -= size
            if left < 0 and kept != path:
                kept.unlink(missing_ok=True)

    def _kept(self) -> list[tuple[float, int, Path]]:
        found: list[tuple[float, int, Path]] = []
        for path in self._folder.iterdir():
            try:
                status = path.stat()
            except FileNotFoundError:  # another process made room
                continue
            if path.suffix != _PARTIAL:
                found.append((status.st_mtime, status.st_size, path))
        return found


class _Kept:
    """A file of the shelf, open."""

    def __init__(self, file: anyio.AsyncFile[bytes], path: Path) -> None:
        self._file = file
        self.mime = path.suffix.removeprefix(".").replace("_", "/", 1)
        self.length = os.fstat(file.wrapped.fileno()).st_size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._file.read(_PIECE_BYTES):
            yield piece
