"""Sends responses that contain base64 files: encoded and sent in slices, so that no whole file is in memory.

The JSON is encoded with a random placeholder for each file. Then the text between the placeholders is sent, and the
base64 of a file in place of each. The length is known in advance.
"""

import binascii
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import anyio.to_thread

from protocol.http.context import context_of
from protocol.http.disconnect import DisconnectWatcher
from protocol.http.errors import CLIENT_GONE
from protocol.model import Content

_SLICE = 3 * 64 * 1024
"""The length of a slice; a multiple of three, since base64 encodes three bytes as four."""


class Pieces:
    """Bytes to send, some of which are the base64 of files."""

    def __init__(self, parts: Iterable[bytes | tuple[Content]]) -> None:
        """Send these parts in order; a file is in a tuple of one."""
        self._parts = tuple(parts)
        self.length = sum(len(part) if isinstance(part, bytes) else (len(part[0]) + 2) // 3 * 4 for part in self._parts)
        """The number of bytes."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes."""
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            async for piece in slices(part[0]):
                yield binascii.b2a_base64(piece, newline=False)


async def slices(content: Content) -> AsyncIterator[bytes]:
    """Yield content in slices; all but the last have a length that is a multiple of three."""
    for at in range(0, len(content), _SLICE):
        size = min(_SLICE, len(content) - at)
        if isinstance(content, bytes):
            yield content[at : at + size]
            continue
        piece = content.read_cached(at, size)
        if piece is None or len(piece) < size:  # not in the page cache
            piece = await anyio.to_thread.run_sync(content.read, at, size)
        yield piece


class Embedding:
    """Puts the base64 of files into a text that is encoded without them."""

    def __init__(self) -> None:
        """Begin with no file."""
        self._files: dict[bytes, Content] = {}

    def placeholder(self, content: Content) -> str:
        """Return the placeholder of a file in the text."""
        placeholder = secrets.token_hex(16)
        self._files[placeholder.encode()] = content
        return placeholder

    def fill(self, text: bytes) -> Pieces:
        """Return the text with the files in it; their placeholders occur in the order in which they were created."""
        parts: list[bytes | tuple[Content]] = []
        for placeholder, content in self._files.items():
            before, _, text = text.partition(placeholder)
            parts += [before, (content,)]
        return Pieces([*parts, text])


class PiecesResponse:
    """Sends pieces as one answer with a known length; stops at once when the client leaves."""

    def __init__(self, pieces: Pieces, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send these pieces with status 200."""
        self._pieces = pieces
        self._headers = [*headers, (b"content-length", b"%d" % pieces.length)]

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        """Handle the request."""
        context = context_of(scope)
        watcher = DisconnectWatcher(scope, context.endings)
        with watcher:
            await send({"type": "http.response.start", "status": 200, "headers": self._headers})
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            watcher.finished = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        if watcher.gone:
            context.record.error = CLIENT_GONE
        elif watcher.ended is not None:
            context.record.note_error(watcher.ended)
