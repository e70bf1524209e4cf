"""Puts the files of a request, and media of earlier answers, into its body: within it, or by an upload.

Source: "Images", "Files, caching, embeddings, speech".
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import anyio.to_thread

from protocol.model import Certainty, FileKeeper, FilePart, GenerationRequest, MediaPart, UpstreamFailed
from transports.earlier_media import EarlierMedia
from transports.generate_content import wire

_COPIES = 3
"""The peak memory of a file within a request, in multiples of its size: its content, and the body in base64."""
_FREE_BYTES = 256 * 1024
"""Files of this length together are neither counted nor encoded in a thread."""


class Uploader(Protocol):
    """Uploads files with an account."""

    @property
    def inline_bytes(self) -> int:
        """How many bytes of files a request may contain; longer files are uploaded."""
        ...

    async def bring(self, file: FilePart) -> wire.FileData:
        """Upload a file, unless the account has it, and return its address.

        Raises:
            GatewayError: the upload failed; no request has been sent.

        """
        ...


class RequestFiles:
    """Takes the files of requests."""

    def __init__(self, earlier: EarlierMedia, keeper: FileKeeper) -> None:
        """Take media of earlier answers from `earlier`, within the budgets of `keeper`."""
        self._earlier, self._keeper = earlier, keeper

    @asynccontextmanager
    async def taken(
        self, request: GenerationRequest, uploader: Uploader | None
    ) -> AsyncGenerator[Mapping[int, wire.ContentPart]]:
        """Yield the parts of a body by the `id()` of the parts of the request; memory is reserved until the end.

        Raises:
            GatewayError: an upload failed, or memory is used up; or as `EarlierMedia.fetched`.

        """
        owner, found = request.caller.owner, dict[int, FilePart]()
        async with AsyncExitStack() as stack:
            for part in (part for turn in request.turns for part in turn.parts):
                if isinstance(part, MediaPart):
                    found[id(part)] = await stack.enter_async_context(self._earlier.fetched(part.ref, owner))
                elif isinstance(part, FilePart):
                    found[id(part)] = part
            inline = dict(_within(found, uploader.inline_bytes if uploader is not None else None))
            size = sum(file.size for file in inline.values())
            if size > _FREE_BYTES:
                await stack.enter_async_context(self._keeper.reserved(_COPIES * size, owner=owner))
            parts: dict[int, wire.ContentPart] = {}
            for key, file in found.items():
                if key in inline:
                    loaded = file if file.stored is None else await anyio.to_thread.run_sync(file.loaded)
                    parts[key] = wire.ContentPart(inline_data=wire.Blob(file.mime, loaded.data))
                elif uploader is not None:
                    parts[key] = await _uploaded(file, uploader)
            yield parts


async def _uploaded(file: FilePart, uploader: Uploader) -> wire.ContentPart:
    try:
        return wire.ContentPart(file_data=await uploader.bring(file))
    except UpstreamFailed as error:
        error.certainty = Certainty.NOT_SENT  # another account may serve the request
        raise


def is_long(files: Mapping[int, wire.ContentPart]) -> bool:
    """Return whether a body with these files is encoded in a thread."""
    blobs = (part.inline_data for part in files.values())
    return sum(len(blob.data) for blob in blobs if blob is not None) > _FREE_BYTES


def _within(files: Mapping[int, FilePart], most: int | None) -> Iterator[tuple[int, FilePart]]:
    """Yield the files that have room within a request, the shortest first; `most` None: all."""
    used = 0
    for key, file in sorted(files.items(), key=lambda item: item[1].size):
        used += file.size
        if most is not None and used > most:
            return
        yield key, file
