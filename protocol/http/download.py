"""Sends one piece of media, or the `Range` of it that the client requests, at the client's pace.

The media is opened inside the response, so that its end, an error or a disconnect ends the upstream's response at
once. An error after the status was sent closes the connection: a client must not mistake half a picture for a whole.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from protocol.http.context import context_of
from protocol.http.disconnect import DisconnectWatcher
from protocol.http.errors import CLIENT_GONE, Refuse
from protocol.model import GatewayError, MediaStream, released

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class ByteRange(msgspec.Struct, frozen=True):
    """Bytes from `start` up to, and without, `end`."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """The range lies outside the content."""


def span_of(header: str, length: int | None) -> ByteRange | None:
    """Return the byte range that a `Range` header requests; None: the whole content.

    Several ranges, other units, malformed headers and an unknown `length` get the whole content, as HTTP allows.

    Raises:
        Unsatisfiable: no byte of the content lies within the range.

    """
    found = _RANGE.fullmatch(header.strip().replace(" ", ""))
    if found is None or length is None or found[0] == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, length - int(last)), length
    else:
        start, end = int(first), min(length, int(last) + 1 if last else length)
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise Unsatisfiable
    return ByteRange(start, end)


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """Response headers of a download."""

    etag: str
    """Identifies the content: equal for equal bytes."""
    headers: Mapping[str, str] = {}


class Download:
    """Sends a piece of media to a client."""

    def __init__(self, media: AbstractAsyncContextManager[MediaStream], content: Content, refuse: Refuse) -> None:
        """Take media that is not open yet; `refuse` writes an error that comes before the first byte."""
        self._media, self._content, self._refuse = media, content, refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle the request."""
        context = context_of(scope)
        watcher = DisconnectWatcher(scope, context.endings)
        sender = _DownloadSender(send, watcher)
        refusal: GatewayError | None = None
        with watcher:
            request_headers: dict[bytes, bytes] = dict(scope["headers"])
            etag = f'"{self._content.etag}"'
            sent_tags = request_headers.get(b"if-none-match", b"").split(b",")
            known_tags = [tag.strip().removeprefix(b"W/") for tag in sent_tags]
            if etag.encode() in known_tags or b"*" in known_tags:
                await sender.empty(304, {"etag": etag})
            else:
                try:
                    async with self._media as stream:
                        await self._send(stream, request_headers, scope["method"], sender)
                except GatewayError as error:
                    refusal = released(error)
        if watcher.gone:
            context.record.error = CLIENT_GONE
            return
        refusal = watcher.ended or refusal
        if refusal is not None:
            context.record.error = refusal.code
            if not sender.started:
                await self._refuse(refusal)(scope, receive, send)

    async def _send(
        self, stream: MediaStream, request_headers: dict[bytes, bytes], method: str, sender: "_DownloadSender"
    ) -> None:
        etag, length = f'"{self._content.etag}"', stream.length
        headers = {"content-type": stream.mime, "etag": etag, "accept-ranges": "bytes", **self._content.headers}
        range_header = (
            request_headers.get(b"range", b"")
            if request_headers.get(b"if-range", etag.encode()) == etag.encode()
            else b""
        )
        try:
            span = span_of(range_header.decode("latin-1"), length)
        except Unsatisfiable:
            await sender.empty(416, {**headers, "content-range": f"bytes */{length}"})
            return
        if span is not None:
            headers["content-range"] = f"bytes {span.start}-{span.end - 1}/{length}"
            headers["content-length"] = str(span.end - span.start)
        elif length is not None:
            headers["content-length"] = str(length)
        await sender.start(206 if span else 200, headers)
        if method != "HEAD":
            async for piece in _within(stream, span):
                await sender.send(piece)
        await sender.finish()


async def _within(stream: MediaStream, span: ByteRange | None) -> AsyncIterator[bytes]:
    """Yield the bytes of a range; those before it are read and dropped, since upstreams support no ranges."""
    position = 0
    async for piece in stream:
        start, position = position, position + len(piece)
        if span is None:
            yield piece
            continue
        if position > span.start:
            yield piece[max(0, span.start - start) : span.end - start]
        if position >= span.end:
            return


class _DownloadSender:
    """Sends the messages of one download."""

    def __init__(self, send: Any, watcher: DisconnectWatcher) -> None:
        self._send, self._watcher = send, watcher
        self.started = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def empty(self, status: int, headers: Mapping[str, str]) -> None:
        kept = {name: value for name, value in headers.items() if name != "content-type"}
        await self.start(status, {**kept, "content-length": "0"} if status != 304 else kept)
        await self.finish()

    async def send(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self) -> None:
        self._watcher.finished = True
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
