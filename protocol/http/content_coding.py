"""Decodes request bodies with a `Content-Encoding` (RFC 9110 section 8.4), slice by slice.

    receive ─ br ─ gzip ─▶ JSON          Content-Encoding: gzip, br

A message of a request can expand to a thousand times its length, so a slice of at most 64 KiB is decoded at a time, and
the event loop runs other tasks between slices. The decoded bytes count as those of any body do (`protocol.http.body`);
here, a body that expands too much is refused.
"""

import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol, cast

import anyio.lowlevel
import brotli

from protocol.http.errors import HttpError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_brotli = cast("Any", brotli)  # it has no types

_SLICE_BYTES = 64 * 1024
_MOST_STACKED = 3
_MOST_MEMBERS = 64
_RATIO = 200
_FREE_BYTES = 1024 * 1024
"""A body may always expand to this length, and to 200 times its length beyond that."""
_WINDOW_LOG = 23
"""The largest window of Zstandard that a decoder must support: 8 MiB (RFC 8878 section 3.1.1.1.2)."""


class _Coding(Protocol):
    """Decodes one coding."""

    @property
    def is_complete(self) -> bool:
        """Whether the encoded data may end here."""
        ...

    def feed(self, data: bytes) -> None:
        """Take encoded bytes, after `read` has returned nothing."""
        ...

    def read(self) -> bytes:
        """Return the next slice of decoded bytes; nothing: more encoded bytes are needed.

        Raises:
            HttpError: the data is invalid (400).

        """
        ...


class _Members:
    """Decodes a series of members, each by a decompressor like those of the standard library."""

    def __init__(self, kind: Callable[[bytes], Any], most: int) -> None:
        """Decode up to `most` members; `kind` makes the decompressor for the data that follows."""
        self._kind, self._most = kind, most
        self._member: Any = None
        self._data = b""

    @property
    def is_complete(self) -> bool:
        return self._member is not None and self._member.eof and not self._data

    def feed(self, data: bytes) -> None:
        self._data += data

    def read(self) -> bytes:
        while True:
            if self._member is None or (self._member.eof and self._data):
                if len(self._data) < 2:  # too short to tell zlib from raw deflate
                    return b""
                self._most -= 1
                if self._most < 0:
                    raise _invalid()
                self._member = self._kind(self._data)
            member = self._member
            if member.eof:
                return b""
            try:
                piece = member.decompress(self._data, _SLICE_BYTES)
            except (zlib.error, zstd.ZstdError):
                raise _invalid() from None
            self._data = member.unused_data if member.eof else getattr(member, "unconsumed_tail", b"")
            if piece or not member.eof:
                return piece


class _Brotli:
    """Decodes Brotli (RFC 7932)."""

    def __init__(self) -> None:
        self._decompressor = _brotli.Decompressor()
        self._data = b""

    @property
    def is_complete(self) -> bool:
        return self._decompressor.is_finished() and not self._data

    def feed(self, data: bytes) -> None:
        self._data = data

    def read(self) -> bytes:
        data, self._data = self._data, b""
        if self._decompressor.is_finished():
            if data:
                raise _invalid()
            return b""
        try:
            return self._decompressor.process(data, output_buffer_limit=_SLICE_BYTES)
        except _brotli.error:
            raise _invalid() from None


def _inflate(data: bytes) -> Any:
    """Return a decompressor for `deflate`: zlib (RFC 1950), or raw deflate as some clients send it."""
    is_zlib = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


def _gunzip(_: bytes) -> Any:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _unzstd(_: bytes) -> Any:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})


_CODINGS: dict[str, Callable[[], _Coding]] = {
    "gzip": lambda: _Members(_gunzip, _MOST_MEMBERS),
    "x-gzip": lambda: _Members(_gunzip, _MOST_MEMBERS),
    "deflate": lambda: _Members(_inflate, 1),
    "br": _Brotli,
    "zstd": lambda: _Members(_unzstd, _MOST_MEMBERS),
}
ACCEPTED = "gzip, deflate, br, zstd"
"""The value of `Accept-Encoding` in a response with status 415."""


def codings_of(headers: list[tuple[bytes, bytes]]) -> list[str]:
    """Return the codings of a body, in the order in which they were applied.

    Raises:
        HttpError: one of them is not supported (415).

    """
    values = b",".join([value for name, value in headers if name == b"content-encoding"])
    if not values:
        return []
    names = [one.strip().lower() for one in values.decode("latin-1").split(",")]
    found = [one for one in names if one not in {"", "identity"}]
    if len(found) > _MOST_STACKED or not all(one in _CODINGS for one in found):
        message = f"The Content-Encoding of the request's body is not supported. Send one of {ACCEPTED}, or none."
        raise HttpError(415, "unsupported_media_type", message, {"Accept-Encoding": ACCEPTED})
    return found


class Decoding:
    """Receives the messages of a request and decodes its body."""

    def __init__(self, receive: Callable[[], Any], codings: list[str], most: int) -> None:
        """Decode `codings`, as `codings_of` returns them; up to `most` encoded bytes."""
        self._receive, self._most = receive, most
        self._chain = [_CODINGS[name]() for name in reversed(codings)]
        self._encoded = 0
        self._decoded = [0] * len(codings)
        self._ended = False

    async def receive(self) -> Any:
        """Return the next message, with a decoded slice of the body.

        Raises:
            HttpError: the body is invalid or ends early (400), or expands too much (413).

        """
        while True:
            await anyio.lowlevel.checkpoint()
            piece = await self._read(len(self._chain) - 1)
            if piece:
                return {"type": "http.request", "body": piece, "more_body": True}
            if self._ended:
                if self._encoded and not all(one.is_complete for one in self._chain):
                    raise _invalid()
                return {"type": "http.request", "body": b"", "more_body": False}
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return message
            self._ended = not message.get("more_body", False)
            data = message.get("body", b"")
            self._encoded += len(data)
            if self._encoded > self._most:
                raise HttpError(413, "request_too_large", f"The request's body is longer than {self._most} bytes.")
            if data:
                self._chain[0].feed(data)

    async def _read(self, number: int) -> bytes:
        """Return a slice of what the coding `number` decodes to; nothing: more encoded bytes are needed.

        Each coding's output is limited: one that expands may feed another that returns nothing.
        """
        while not (piece := self._chain[number].read()):
            before = await self._read(number - 1) if number else b""
            if not before:
                return b""
            self._chain[number].feed(before)
            await anyio.lowlevel.checkpoint()
        self._decoded[number] += len(piece)
        if self._decoded[number] > min(self._most, _FREE_BYTES + _RATIO * self._encoded):
            raise HttpError(413, "request_too_large", "The request's body is too long when it is decoded.")
        return piece


def _invalid() -> HttpError:
    message = (
        "The request's body is not valid in its Content-Encoding: it is damaged, cut off, or has bytes at its end."
    )
    return HttpError(400, "invalid_encoding", message)
