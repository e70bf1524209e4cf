"""Opens files that the API has made, such as films: they are read from the API with the key when a link is opened.

An address names the file; it is read below the transport's own address, so a key is never sent elsewhere.

Source: "Video", "Files, caching, embeddings, speech".
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import aiohttp

from protocol.model import DriftDetected, MediaRef, MediaStream, UpstreamFailed, media_type_of
from transports.generate_content.api_client import ApiClient
from transports.generate_content.errors import FileMissing, ModelMissing

_FILE = re.compile(r"(?:\A|/)(files/[a-zA-Z0-9_-]{1,128})(?::download)?(?:\?alt=media)?\Z")
_ENOUGH = 64
"""Bytes that tell the type of a file."""


def ref_of_file(uri: str, interaction: str) -> str:
    """Return the reference to a file of the API from its address, with the interaction that made it.

    Raises:
        DriftDetected: the address has an unknown form.

    """
    found = _FILE.search(uri)
    if found is None:
        raise DriftDetected("The upstream named a file in an unknown way.")
    return f"{found[1]}#{interaction}"


def interaction_of(ref: MediaRef) -> str:
    """Return the interaction that made a file of the API; empty: unknown."""
    return ref.url.partition("#")[2]


def is_generated(ref: MediaRef) -> bool:
    """Return whether a medium is a file of the API."""
    return ref.url.startswith("files/")


class _GeneratedStream:
    """A file of the API as `MediaStream`."""

    def __init__(self, first: bytes, pieces: AsyncIterator[bytes], length: int | None) -> None:
        self.mime = media_type_of(first[:_ENOUGH]) or "application/octet-stream"
        self.length = length
        self._first, self._pieces = first, pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._first
        async for piece in self._pieces:
            yield piece


@asynccontextmanager
async def open_generated(api: ApiClient, ref: MediaRef) -> AsyncGenerator[MediaStream]:
    """Open a file; it is passed on as it arrives.

    Raises:
        UpstreamFailed: the API has deleted it, or it could not be read.

    """
    try:
        async with (
            api.download(f"{ref.url.partition('#')[0]}:download?alt=media") as response,
            aclosing(_pieces(api, response)) as pieces,
        ):
            first = b""
            async for piece in pieces:
                first += piece
                if len(first) >= _ENOUGH:
                    break
            yield _GeneratedStream(first, pieces, response.content_length)
    except (ModelMissing, FileMissing):
        raise UpstreamFailed("The upstream has deleted this file.", code="media_gone") from None


async def _pieces(api: ApiClient, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    async for piece in api.pieces(response):
        yield piece
