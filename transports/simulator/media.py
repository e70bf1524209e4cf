"""The simulated media hosts: pictures in several sizes, originals after three hops, videos that take time.

Source: "Media out", "Field notes".
"""

import re
import secrets
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Literal

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from transports.clock import Clock
from transports.simulator.accounts import SimulatedSession
from transports.simulator.breakable_stream import BreakableStream
from transports.simulator.images import DrawnPicture, draw

FOLDERS = ("gg", "gg-dl", "rd-gg", "rd-gg-dl")
"""Folders of picture URLs, and of those that they redirect to."""

_MOST_MEDIA = 2000
_MOST_CACHED_BYTES = 64_000_000
_DRAWERS = 2
_PREVIEW, _ORIGINAL = 512, 2048
_SIZE = re.compile(r"s(\d{1,4})(-rj)?")
_ASK_ORIGINAL = "d-I"
_PIECE = 128 * 1024


class Clip(msgspec.Struct, frozen=True, kw_only=True):
    """A video or a song; until `ready` (epoch seconds) its URL answers 206 without content."""

    content: bytes
    mime: str
    ready: float = 0.0
    envelope: bool = False


MediaStep = Literal["preview", "original", "next", "final", "clip"]


class Medium(msgspec.Struct, frozen=True, kw_only=True):
    """A medium that a URL of the media host names."""

    owner: SimulatedSession
    what: DrawnPicture | Clip
    step: MediaStep
    until: float


Refuse = Callable[[str, int], Response]
"""Records why a request was refused, and returns a response with a status."""


class SimulatedMedia:
    """All media of a simulated site."""

    def __init__(self, clock: Clock, *, seconds: float, redirect: str) -> None:
        """Keep each medium for `seconds`; `redirect` decides the target of a picture's first URL."""
        self._clock, self._seconds, self._redirect = clock, seconds, redirect
        self._media: OrderedDict[str, Medium] = OrderedDict()
        self._drawn: OrderedDict[tuple[DrawnPicture, int, bool, bool], bytes] = OrderedDict()
        self._drawn_bytes = 0
        self._drawers: anyio.CapacityLimiter | None = None

    def add(self, owner: SimulatedSession, what: DrawnPicture | Clip, step: MediaStep | None = None) -> str:
        """Keep a picture or a clip of an account; return its token."""
        token = "sim-" + secrets.token_urlsafe(24)
        step = step or ("preview" if isinstance(what, DrawnPicture) else "clip")
        until = self._clock.monotonic() + self._seconds
        self._media[token] = Medium(owner=owner, what=what, step=step, until=until)
        while len(self._media) > _MOST_MEDIA:
            self._media.popitem(last=False)
        return token

    def picture(self, token: str) -> DrawnPicture | None:
        """Return the picture of a token if it is still kept."""
        medium = self._media.get(token)
        return medium.what if medium is not None and isinstance(medium.what, DrawnPicture) else None

    async def serve_picture(
        self, request: Request, session: SimulatedSession, refuse: Refuse
    ) -> Response | BreakableStream:
        """Answer `GET /gg/<token>[=options]` and the URLs that follow it."""
        name, _, options = request.path_params["name"].partition("=")
        medium = self._find(name, session)
        if isinstance(medium, str):
            return refuse(f"media: {medium}", 403)
        if medium.step in {"original", "next"}:
            return self._hop(request, medium, options, refuse)
        if medium.step == "final":
            return await self._drawing(medium, _ORIGINAL, png=True, mark=True)
        rendition = _rendition(options)
        if medium.step != "preview" or rendition is None:
            return refuse(f"media: no rendition {options[:20]!r}", 403)
        if self._redirect != "none" and request.url.path.startswith("/gg/"):
            origin = _elsewhere(request) if self._redirect == "host" else origin_of(request)
            return RedirectResponse(f"{origin}/gg-dl/{request.path_params['name']}", 302)
        return await self._drawing(medium, *rendition)

    def serve_clip(self, request: Request, session: SimulatedSession, refuse: Refuse) -> Response:
        """Answer `GET /download?c=<token>…`."""
        medium = self._find(request.query_params.get("c", ""), session)
        if isinstance(medium, str):
            return refuse(f"media: {medium}", 403)
        clip = medium.what
        if not isinstance(clip, Clip):
            return refuse("media: a picture, not a clip", 403)
        if self._clock.wall() < clip.ready:
            return Response(b"", 206)
        if clip.envelope:
            return Response(enveloped(clip.content), media_type="application/protobuf")
        return Response(clip.content, media_type=clip.mime)

    def _find(self, token: str, session: SimulatedSession) -> Medium | str:
        """Return the medium of a token, or why the account may not have it."""
        now = self._clock.monotonic()
        while self._media and next(iter(self._media.values())).until <= now:
            self._media.popitem(last=False)
        medium = self._media.get(token)
        if medium is None:
            return "no such URL, or an expired one"
        if session.account is None:
            return "not signed in"
        return medium if medium.owner is session else "another account's"

    def _hop(self, request: Request, medium: Medium, options: str, refuse: Refuse) -> Response:
        """Answer a step to the original: the body is the next URL."""
        first = medium.step == "original"
        if first and (options != _ASK_ORIGINAL or request.query_params.get("alr") != "yes"):
            return refuse("media: an original is asked for with =d-I?alr=yes", 403)
        token = self.add(medium.owner, medium.what, "next" if first else "final")
        origin = _elsewhere(request) if self._redirect == "host" and not first else origin_of(request)
        return PlainTextResponse(f"{origin}/{'rd-gg' if first else 'rd-gg-dl'}/{token}")

    async def _drawing(self, medium: Medium, longest: int, png: bool, mark: bool = False) -> Response | BreakableStream:
        picture = medium.what
        if not isinstance(picture, DrawnPicture):
            return PlainTextResponse("", 404)
        key = (picture, longest, png, mark)
        content = self._drawn.get(key)
        if content is None:
            if self._drawers is None:
                self._drawers = anyio.CapacityLimiter(_DRAWERS)
            work = partial(draw, picture, longest, png=png, mark=mark)
            content = await anyio.to_thread.run_sync(work, limiter=self._drawers)
            self._drawn_bytes += len(content) - len(self._drawn.pop(key, b""))
            self._drawn[key] = content
            while self._drawn_bytes > _MOST_CACHED_BYTES:
                self._drawn_bytes -= len(self._drawn.popitem(last=False)[1])
        mime = "image/png" if png else "image/jpeg"
        if picture.length is None and picture.cut is None:
            return Response(content, media_type=mime)
        length = max(len(content), picture.length or 0)
        stream = BreakableStream(_padded(content, length, picture.cut), Counter(), lambda: None)
        stream.headers = {"content-type": mime, "content-length": str(length)}
        return stream


def picture_url(origin: str, token: str) -> str:
    """Return the URL of a picture."""
    return f"{origin}/gg/{token}"


def clip_url(origin: str, token: str, name: str) -> str:
    """Return the URL of a video or song."""
    return f"{origin}/download?c={token}&filename={name}&opi=103135050"


def origin_of(request: Request) -> str:
    """Return the site's URL as the client sees it."""
    return f"{request.scope['scheme']}://{request.headers.get('host', '')}"


def spellings_of(request: Request) -> tuple[str, str]:
    """Return both URLs of this host, the client's first: the site and its upload host may differ in the spelling."""
    return origin_of(request), _elsewhere(request)


def _elsewhere(request: Request) -> str:
    """Return the URL of this host with its other name: localhost or 127.0.0.1."""
    host, colon, port = request.headers.get("host", "").rpartition(":")
    other = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(host, host)
    return f"{request.scope['scheme']}://{other}{colon}{port}"


async def _padded(content: bytes, length: int, cut: int | None) -> AsyncIterator[bytes | None]:
    """Yield a file of this length in pieces; None marks the place where it breaks off."""
    for at in range(0, length, _PIECE):
        piece = content[at : at + _PIECE].ljust(min(_PIECE, length - at), b"\0")
        if cut is not None and at + len(piece) > cut:
            yield piece[: cut - at]
            yield None
        yield piece


def _rendition(options: str) -> tuple[int, bool] | None:
    """Return the longest side and whether it is PNG, from size options; None: the site does not know them."""
    if not options:
        return _PREVIEW, False
    size = _SIZE.fullmatch(options)
    if size is None or int(size[1]) > _ORIGINAL:
        return None
    return int(size[1]) or _ORIGINAL, size[2] is None


def enveloped(content: bytes) -> bytes:
    """Return a file inside a protobuf message inside another."""
    inner = _field(1, b"video/mp4") + _field(3, content)
    return b"\x08\x01" + _field(2, inner) + _field(5, b"simulated")


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
