"""Serves `GET {prefix}/media/{token}`: media behind signed URLs, for browsers without a license key.

The signed URL itself is the permission (see `service.media.signed_urls`). It names the license it was made for: it
ends with that license, and with the feature that the media need.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from protocol.http.context import CurrentLicenses, ImageFormat, RequestContext, context_of
from protocol.http.download import Content, Download
from protocol.http.embed import slices
from protocol.http.errors import HttpError, Refuse
from protocol.http.operation import Endpoint
from protocol.model import Content as FileContent
from protocol.model import Engine, MediaRef, MediaStream, UpstreamFailed
from service.media.cache import MediaCache
from service.media.signed_urls import PATH, UrlSigner

_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox allow-same-origin"
"""No script runs. The page keeps its origin: without one, Chromium plays no video in the page it builds around it."""
_HEADERS = {
    "cache-control": "private, max-age=3600",
    "content-security-policy": _POLICY,
    "content-disposition": "inline",
    "cross-origin-resource-policy": "cross-origin",
    "x-content-type-options": "nosniff",
}
_SHOWN = ("image/png", "image/jpeg", "image/webp", "image/gif", "video/", "audio/")
"""Media types that a browser displays and does not execute."""

_encode = msgspec.msgpack.Encoder().encode


class MediaRoutes:
    """Serves signed media URLs."""

    def __init__(self, engine: Engine, signer: UrlSigner, licenses: CurrentLicenses, cache: MediaCache | None) -> None:
        """Serve links of `licenses` while these are valid; keep opened media in `cache`, if there is one."""
        self._engine, self._signer, self._licenses, self._cache = engine, signer, licenses, cache

    def route(self, refuse: Refuse) -> Route:
        """Return the route; `refuse` writes its errors."""

        async def answer(request: Request) -> Download:
            signed = self._signer.open(request.path_params["token"])
            context = context_of(request.scope)
            caller = await self._licenses.current(signed.owner) if signed is not None else None
            if signed is None or caller is None:
                raise HttpError(404, "not_found", "This media link is invalid or has expired.")
            caller.permit_feature(signed.ref.feature)
            context.license_end = self._licenses.end_of(signed.owner)
            name = sha256(_encode((signed.ref, signed.image_format))).hexdigest()
            media = self._media(signed.ref, signed.image_format, context)
            if self._cache is not None:
                media = self._cache.open(name, media)
            return Download(media, Content(etag=name[:32], headers=_HEADERS), refuse)

        return Route(f"{PATH}{{token}}", Endpoint(answer, refuse), methods=["GET"])

    @asynccontextmanager
    async def _media(
        self, ref: MediaRef, image_format: ImageFormat, context: RequestContext
    ) -> AsyncGenerator[MediaStream]:
        async with self._engine.media(ref, image_format.rendition) as stream:
            if not stream.mime.startswith(_SHOWN):
                raise UpstreamFailed("The upstream did not return a media file.")
            if image_format.keeps_pictures:
                yield stream
                return
            from protocol.http.picture import fitted, whole_picture

            data = await whole_picture(stream, context)
        made, mime = await fitted(data, image_format, context)
        yield OpenedMedia(made, mime)


class OpenedMedia:
    """Media content in memory or on disk, as a stream."""

    def __init__(self, data: FileContent, mime: str) -> None:
        """Stream `data`."""
        self._data, self.mime, self.length = data, mime, len(data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content in slices."""
        async for piece in slices(self._data):
            yield piece
