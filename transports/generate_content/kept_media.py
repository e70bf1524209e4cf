"""Keeps the pictures of answers in the store, because the API sends them within the answer.

Source: "Images".
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import structlog

from protocol.model import (
    Capability,
    Feature,
    GenerationRequest,
    Media,
    MediaKind,
    MediaRef,
    MediaStream,
    Role,
    UpstreamFailed,
    media_type_of,
)
from transports.generate_content import wire
from transports.store.blobs import Blob, BlobMissing, Blobs

_SCHEME = "blob:"
_log = structlog.get_logger()


class KeptMedia:
    """Takes the files of one answer; implements `transports.generate_content.model_call.MediaKeeper`."""

    def __init__(self, blobs: Blobs, transport: str, account: str, request: GenerationRequest) -> None:
        """Keep files that `account` gets for a request."""
        self._blobs, self._transport, self._account = blobs, transport, account
        self._prompt = next((turn.text for turn in reversed(request.turns) if turn.role is Role.USER), "")
        self._owner, capability = request.caller.owner, request.selection.capability
        self._part_of = Feature.STORYBOOK if capability is Capability.STORYBOOK else None
        self._waiting: list[tuple[Blob, bytes]] = []

    def note(self, blob: wire.Blob) -> Media | None:
        """Take a file and return its event; None: it is another kind of file."""
        mime = media_type_of(blob.data[:64]) or ""
        kind = next((kind for kind in MediaKind if mime.startswith(f"{kind}/")), None)
        if kind is None:
            _log.warning("answer_file_ignored", declared=blob.mime_type[:64])
            return None
        kept = Blob.new(mime, len(blob.data))
        self._waiting.append((kept, blob.data))
        return Media(
            ref=MediaRef(
                transport=self._transport,
                account=self._account,
                kind=kind,
                url=f"{_SCHEME}{kept.token}",
                part_of=self._part_of,
            ),
            revised_prompt=self._prompt,
        )

    async def save(self) -> None:
        """Store the files that were taken since the last call.

        Raises:
            UpstreamFailed: the store failed.

        """
        while self._waiting:
            blob, data = self._waiting.pop(0)
            try:
                await self._blobs.keep(self._owner, blob, data)
            except OSError:
                raise UpstreamFailed("The gateway could not store the picture.", code="store_unavailable") from None


class _Stream:
    """A file of the store as `MediaStream`."""

    def __init__(self, blobs: Blobs, blob: Blob) -> None:
        self._blobs, self._blob = blobs, blob
        self.mime = blob.mime
        self.length: int | None = blob.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._blobs.read(self._blob):
                yield piece
        except BlobMissing:
            raise _gone() from None
        except OSError:
            raise UpstreamFailed("The gateway's store is unavailable.", code="store_unavailable") from None


@asynccontextmanager
async def open_kept(blobs: Blobs, ref: MediaRef) -> AsyncGenerator[MediaStream]:
    """Open a file that `KeptMedia` has stored.

    Raises:
        UpstreamFailed: it has expired, or the store failed.

    """
    try:
        blob = await blobs.find(ref.url.removeprefix(_SCHEME))
    except OSError:
        raise UpstreamFailed("The gateway's store is unavailable.", code="store_unavailable") from None
    if blob is None:
        raise _gone()
    yield _Stream(blobs, blob)


def is_kept(ref: MediaRef) -> bool:
    """Return whether `KeptMedia` has stored a file."""
    return ref.url.startswith(_SCHEME)


def _gone() -> UpstreamFailed:
    return UpstreamFailed("This file has expired.", code="media_gone")
