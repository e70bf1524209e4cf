"""Converts an upstream's picture to the requested size and format.

The picture fills the frame and is cropped evenly ("cover"). Metadata such as camera and location is removed; the
colour profile is kept.
"""

import struct
from functools import partial
from io import BytesIO
from typing import BinaryIO, cast

from PIL import Image, ImageOps

from protocol.http.concurrency import in_thread
from protocol.http.context import Look, RequestContext
from protocol.http.pixels import MOST_PIXELS
from protocol.http.spool import ContentWriter, Spool, collect
from protocol.model import Content, MediaStream, TooLong, UpstreamFailed, View, viewed

FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
"""What can be made, and its media type."""

MOST_BYTES = 64 * 1024 * 1024
"""A picture that has more is not accepted."""
_READ = ("PNG", "JPEG", "WEBP", "GIF")
_JPEG_QUALITY = 92
_WEBP_QUALITY = 90
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow says of bytes that it cannot or will not read; a warning is an error only where they are made so."""
_PROFILED = frozenset({"RGB", "RGBA"})


async def whole_picture(stream: MediaStream, context: RequestContext) -> Content:
    """Return the content of a picture, collected for a request.

    Raises:
        UpstreamFailed: it has more bytes than any picture has, or breaks off.
        Saturated: there is no memory, or no space on disk.

    """
    try:
        return await collect(stream, context.reserved(), context.spool, MOST_BYTES)
    except TooLong:
        raise UpstreamFailed("The upstream's picture is larger than this gateway accepts.") from None


async def fitted(data: Content, look: Look, context: RequestContext) -> tuple[Content, str]:
    """Do `fit` in the pool of threads for pictures.

    Raises:
        UpstreamFailed: the upstream's bytes are no picture that can be read.
        Saturated: there is no memory, or no space on disk.

    """
    pixels = await in_thread(partial(_pixels, data))
    if look.size is not None:
        pixels += look.size[0] * look.size[1]
    hold, work = context.reserved(), partial(fit, data, look, context.spool)
    made, mime = await context.pixels.run(work, pixels, context.memory, hold.owner)
    if isinstance(made, bytes) and made is not data:
        await hold.add(len(made))
    return made, mime


def _pixels(data: Content) -> int:
    """Return how many pixels a picture has, by its header."""
    try:
        with viewed(data) as view, _opened(view) as image:
            if image.width * image.height > MOST_PIXELS:
                raise _unreadable()
            return image.width * image.height
    except _BROKEN:
        raise _unreadable() from None


def fit(data: Content, look: Look, spool: Spool) -> tuple[Content, str]:
    """Return a picture of exactly `look.size` in `look.format` (a key of `FORMATS`), and its media type.

    None leaves it as it is; what already is as asked is returned byte for byte. `look.quality` (0 to 100) is for the
    formats that lose something. This decodes: do it in a thread.

    Raises:
        UpstreamFailed: these bytes are no picture that can be read, or one of too many pixels.
        Saturated: there is no space on disk for the result.

    """
    try:
        with viewed(data) as view, _opened(view) as image:
            if image.width * image.height > MOST_PIXELS:
                raise _unreadable()
            return _made(data, image, look, ContentWriter(spool, MOST_BYTES))
    except _BROKEN:
        raise _unreadable() from None


def _opened(view: View) -> Image.Image:
    file = BytesIO(view) if isinstance(view, bytes) else cast("BinaryIO", view)
    return Image.open(file, formats=_READ)


def _made(data: Content, image: Image.Image, look: Look, out: ContentWriter) -> tuple[Content, str]:
    own, size, quality = (image.format or "").lower(), look.size, look.quality
    name = look.format or (own if own in FORMATS else "png")
    if size in {None, image.size} and name == own and (quality is None or name == "png"):
        return data, FORMATS[name]
    profile = image.info.get("icc_profile") if image.mode in _PROFILED else None
    upright = _plain(ImageOps.exif_transpose(image), opaque=name == "jpeg")
    if size is not None and upright.size != size:
        upright = ImageOps.fit(upright, size, Image.Resampling.LANCZOS)
    _encode(upright, cast("BinaryIO", out), name, quality, profile)
    return out.finish(), FORMATS[name]


def _plain(image: Image.Image, *, opaque: bool) -> Image.Image:
    """Return a picture in red, green, blue and, where it has and may have one, alpha."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image if image.mode == "RGBA" else image.convert("RGBA")
    if not opaque:
        return image
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _encode(image: Image.Image, out: BinaryIO, name: str, quality: int | None, profile: bytes | None) -> None:
    if name == "png":
        image.save(out, "PNG", icc_profile=profile, exif=b"")
    elif name == "jpeg":
        image.save(out, "JPEG", quality=_JPEG_QUALITY if quality is None else quality, icc_profile=profile, exif=b"")
    else:
        image.save(
            out,
            "WEBP",
            quality=_WEBP_QUALITY if quality is None else quality,
            icc_profile=profile or "",
            exif=b"",
        )


def _unreadable() -> UpstreamFailed:
    return UpstreamFailed("The upstream sent a picture that cannot be read.", code="upstream_protocol_error")
