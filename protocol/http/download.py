"""Sends one piece of media, or the `Range` of it that the client requests, at the client's pace.

The conditions of RFC 9110, 13 are checked before the media is opened, with its ETag alone.

The media is opened inside the response, so that its end, an error or a disconnect ends the upstream's response at
once. An error after the status was sent closes the connection: a client must not mistake half a picture for a whole.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
from starlette.datastructures import Headers

from protocol.http.context import context_of
from protocol.http.disconnect import DisconnectWatcher
from protocol.http.errors import CLIENT_GONE, HttpError, Refuse
from protocol.model import GatewayError, MediaStream, released

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)


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
    if found is None or length is None or not any(found.groups()):
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
            headers = Headers(scope=scope)
            try:
                if self._is_known(headers):
                    await sender.not_modified({"etag": self._etag, **self._content.headers})
                else:
                    async with self._media as stream:
                        await self._send(stream, headers, scope["method"], sender)
            except GatewayError as error:
                refusal = released(error)
        if watcher.gone:
            context.record.error = CLIENT_GONE
            return
        refusal = watcher.ended or refusal
        if refusal is not None:
            context.record.note_error(refusal)
            if not sender.started:
                await self._refuse(refusal)(scope, receive, send)

    @property
    def _etag(self) -> str:
        return f'"{self._content.etag}"'

    def _is_known(self, headers: Headers) -> bool:
        """Return whether the client has the content already.

        Raises:
            HttpError: it wants other content (412).

        """
        wanted, known = (
            [tag.strip() for line in headers.getlist(name) for tag in line.split(",")]
            for name in ("if-match", "if-none-match")
        )
        if wanted and not {"*", self._etag} & set(wanted):
            raise HttpError(412, "precondition_failed", "The media has another ETag than If-Match.")
        return not {"*", self._etag, f"W/{self._etag}"}.isdisjoint(known)

    async def _send(self, stream: MediaStream, sent: Headers, method: str, sender: "_DownloadSender") -> None:
        length = stream.length
        headers = {"content-type": stream.mime, "etag": self._etag, "accept-ranges": "bytes", **self._content.headers}
        has_range = method == "GET" and sent.get("if-range", self._etag) == self._etag
        try:
            span = span_of(sent.get("range", "") if has_range else "", length)
        except Unsatisfiable:
            outside = {"content-range": f"bytes */{length}", "accept-ranges": "bytes"}
            message = f"The media has {length} bytes: none of them is in the requested range."
            raise HttpError(416, "range_not_satisfiable", message, outside) from None
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

    async def not_modified(self, headers: Mapping[str, str]) -> None:
        await self.start(304, headers)
        await self.finish()

    async def send(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self) -> None:
        self._watcher.finished = True
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
