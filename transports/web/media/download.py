"""Open generated media (pictures, videos, music) from the site, hop by hop, with the account's cookies.

A URL may lead to another one by a redirect, or by a response whose body is the next URL. This module follows both
itself and checks each hop against the known hosts (`allowed`) before it sends a cookie there.

Source: "Media out", "Field notes".
"""

import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import anyio
import msgspec
import structlog
from yarl import URL

from protocol.model import (
    GatewayError,
    MediaKind,
    MediaRef,
    RateLimited,
    Rendition,
    UpstreamFailed,
    UpstreamTimeout,
    media_type_of,
)
from transports.http import CLIENT_ERRORS, mapped, retry_after
from transports.web import wire
from transports.web.codec import encode, jspb
from transports.web.config import WebConfig
from transports.web.media.envelope import find_film
from transports.web.session.session import Session

_MOST_HOPS = 5
_HEAD_BYTES = 64
_ENVELOPE_HEAD_BYTES = 64 * 1024
_LONGEST_URL = 16 * 1024
_SCHEMES = (b"https://", b"http://")
"""First bytes of a body that is the next URL; no media file starts with them."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({404, 410})
_RENDITION = re.compile(r"=[a-z][A-Za-z0-9-]{0,40}\Z")
_PORTS = {"http": 80, "https": 443}

_decode_original = msgspec.json.Decoder(tuple[str, str, str, str]).decode
"""Reads `MediaRef.original`: rid, rcid, cid and image id."""

_log = structlog.get_logger()


class Bytes:
    """An open media file; iterate it once."""

    def __init__(self, body: "_Body", mime: str, length: int | None) -> None:
        """Wrap a body whose first bytes have been read."""
        self._body = body
        self.mime, self.length = mime, length

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        """Yield the bytes; raise GatewayError if the connection breaks."""
        left = self.length
        while left is None or left > 0:
            chunk = await self._body.next()
            if not chunk:
                if left:
                    raise UpstreamFailed("The upstream's media is incomplete. Try again.", code="upstream_truncated")
                return
            chunk = chunk if left is None else chunk[:left]
            left = None if left is None else left - len(chunk)
            yield chunk


@asynccontextmanager
async def open_media(session: Session, ref: MediaRef, rendition: Rendition) -> AsyncGenerator[Bytes]:
    """Open a media file, a picture in the given rendition; leaving the context closes the response.

    If the original of a picture is unavailable, its preview URL is opened instead.

    Raises:
        UpstreamFailed: the media is unavailable, not ready yet (`media_not_ready`) or deleted (`media_gone`).
        GatewayError: the account cannot be used.

    """
    async with AsyncExitStack() as stack:
        if rendition is Rendition.ORIGINAL and ref.original:
            attempt = await stack.enter_async_context(AsyncExitStack())
            try:
                url = await _original(session, ref.original)
                opened = await _open(attempt, session, url, ref.kind)
            except GatewayError as error:
                await attempt.aclose()
                _log.info("original_unavailable", account=session.name, error=type(error).__name__, code=error.code)
            else:
                yield opened
                return
        url = ref.url if ref.kind is not MediaKind.IMAGE else rendered(ref.url, wire.RENDITIONS[rendition])
        yield await _open(stack, session, url, ref.kind)


def rendered(url: str, rendition: str) -> str:
    """Return a URL with the rendition in its last path segment replaced."""
    path, mark, query = url.partition("?")
    return f"{_RENDITION.sub('', path)}{rendition}{mark}{query}"


def allowed(url: URL, config: WebConfig) -> bool:
    """Return whether a URL may be requested with cookies: media hosts of the site and hosts of the settings."""
    if not url.absolute or not url.scheme or url.host is None or url.user is not None or url.password is not None:
        return False
    hosts = config.hosts
    own = {URL(host).origin() for host in (hosts.site, hosts.accounts, hosts.upload)}
    if url.scheme not in {"https", URL(hosts.site).scheme}:
        return False
    if url.origin() in own:
        return True
    known = any(url.host == suffix or url.host.endswith(f".{suffix}") for suffix in wire.MEDIA_SUFFIXES)
    return known and url.port == _PORTS.get(url.scheme)


async def _original(session: Session, original: str) -> str:
    """Return the URL that leads to the original, through two more URLs. Source: "Media out"."""
    try:
        rid, rcid, cid, image = _decode_original(original)
    except msgspec.MsgspecError:
        raise UpstreamFailed("The reference to the original picture is invalid.", code="media_gone") from None
    payload = encode.original_payload(rid, rcid, cid, image)
    answers = await session.ask((wire.RPC_ORIGINAL, payload))
    url = jspb.text(answers.get(wire.RPC_ORIGINAL), wire.ORIGINAL_URL)
    if not url:
        raise UpstreamFailed("The upstream returned no URL of the original picture.")
    return f"{_RENDITION.sub('', url)}{wire.ORIGINAL_HOP}"


async def _open(stack: AsyncExitStack, session: Session, url: str, kind: MediaKind) -> Bytes:
    response, body = await _follow(stack, session, url)
    head = await body.at_least(_HEAD_BYTES)
    if not head:
        raise UpstreamFailed("The upstream's media is not ready yet. Try again later.", code="media_not_ready")
    length = None if response.headers.get("Content-Encoding") else response.content_length
    mime = media_type_of(head)
    if mime is None and kind is not MediaKind.IMAGE:
        film = find_film(await body.at_least(_ENVELOPE_HEAD_BYTES), length)
        if film is not None:
            body.skip(film.start)
            mime, length = "video/mp4", film.length
    if mime is None or not mime.startswith(("image/",) if kind is MediaKind.IMAGE else ("audio/", "video/")):
        raise UpstreamFailed("The upstream sent a response that is not the requested media.")
    if length is not None and length > body.most:
        raise _too_long()
    return Bytes(body, mime, length)


async def _follow(stack: AsyncExitStack, session: Session, url: str) -> "tuple[aiohttp.ClientResponse, _Body]":
    """Follow a URL; return the final response and its body.

    Raises:
        UpstreamFailed: a hop leads to an unknown host, or there are too many hops.
        GatewayError: as `_check`.

    """
    config = session.site.config
    try:
        hop = URL(url, encoded=True)
        for _ in range(_MOST_HOPS + 1):
            if not allowed(hop, config):
                raise UpstreamFailed("The upstream's media URL leads to a host that is not allowed.")
            inner = await stack.enter_async_context(AsyncExitStack())
            with anyio.fail_after(config.timeouts.first_frame):
                headers = {"Accept-Encoding": "identity", "Referer": f"{session.site.config.hosts.site}/"}
                response = await inner.enter_async_context(
                    session.site.request("GET", hop, headers, only=wire.MEDIA_COOKIES)
                )
            inner.callback(response.close)
            if response.status in _REDIRECTS:
                hop = hop.join(URL(response.headers.get("Location", ""), encoded=True))
            else:
                _check(response)
                body = _Body(response, session)
                pointed = await _pointed(body)
                if pointed is None:
                    return response, body
                hop = URL(pointed, encoded=True)
            await inner.aclose()
    except TimeoutError:
        raise UpstreamTimeout("The upstream's media timed out. Try again.") from None
    except CLIENT_ERRORS as error:
        raise mapped(error) from None
    raise UpstreamFailed("The upstream's media URL leads through too many hops.")


async def _pointed(body: "_Body") -> str | None:
    """Return the URL in a body; None if the body is the media itself."""
    head = (await body.at_least(_HEAD_BYTES)).lstrip()
    if not head.startswith(_SCHEMES):
        return None
    text = (await body.at_least(_LONGEST_URL)).decode("utf-8", "replace").strip()
    if len(text) >= _LONGEST_URL or any(character.isspace() for character in text):
        raise UpstreamFailed("The upstream sent a response that is not the requested media.")
    return text


def _check(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status == 206:
        raise UpstreamFailed("The upstream's media is not ready yet. Try again later.", code="media_not_ready")
    if status in _GONE:
        raise UpstreamFailed("The upstream has deleted this media.", code="media_gone")
    if status == 429:
        raise RateLimited("The upstream rate-limits media downloads.", retry_after=retry_after(response.headers))
    if status != 200:
        raise UpstreamFailed(f"The upstream refused the media (HTTP {status}).", code="upstream_rejected")


class _Body:
    """A response's bytes; the first ones can be inspected before they are consumed."""

    def __init__(self, response: aiohttp.ClientResponse, session: Session) -> None:
        self._response = response
        self._wait = session.site.config.timeouts.between_frames
        self._head = b""
        self._got = 0
        self.most = session.site.config.media_bytes

    async def at_least(self, count: int) -> bytes:
        """Return at least the first `count` bytes without consuming them; fewer only if the body is shorter."""
        while len(self._head) < count and (chunk := await self._read()):
            self._head += chunk
        return self._head

    def skip(self, count: int) -> None:
        self._head = self._head[count:]

    async def next(self) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        return await self._read()

    async def _read(self) -> bytes:
        try:
            with anyio.fail_after(self._wait):
                chunk = await self._response.content.readany()
        except CLIENT_ERRORS as error:
            raise mapped(error, started=True) from None
        self._got += len(chunk)
        if self._got > self.most:
            raise _too_long()
        return chunk


def _too_long() -> UpstreamFailed:
    return UpstreamFailed("The upstream's media is longer than this gateway's limit (media_bytes).")
