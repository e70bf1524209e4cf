"""Converts an upstream's picture to the requested size and format.

The picture fills the requested size and is cropped evenly ("cover"). Metadata such as camera and location is removed;
the color profile is kept.
"""

import struct
from functools import partial
from io import BytesIO
from typing import BinaryIO, cast

from PIL import Image, ImageOps

from protocol.http.context import ImageFormat, RequestContext
from protocol.http.parallel import in_thread
from protocol.http.pixels import MOST_PIXELS
from protocol.http.spool import ContentWriter, Spool, collect
from protocol.model import Content, MediaStream, TooLong, UpstreamFailed, View, viewed

FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
"""The formats of results, with their media types."""

MOST_BYTES = 64 * 1024 * 1024
"""A larger picture is not accepted."""
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
"""What Pillow raises for bytes that it cannot read; a warning, only if warnings are errors."""
_PROFILED = frozenset({"RGB", "RGBA"})


async def whole_picture(stream: MediaStream, context: RequestContext) -> Content:
    """Collect a picture for a request.

    Raises:
        UpstreamFailed: the picture is too large, or its stream breaks.
        Saturated: the memory budget or the disk is full.

    """
    try:
        return await collect(stream, context.reserved(), context.spool, MOST_BYTES)
    except TooLong:
        raise UpstreamFailed("The upstream's picture is larger than this gateway accepts.") from None


async def fitted(data: Content, image_format: ImageFormat, context: RequestContext) -> tuple[Content, str]:
    """Run `fit` in the pool of threads for pictures.

    Raises:
        UpstreamFailed: the picture cannot be read.
        Saturated: the memory budget or the disk is full.

    """
    pixels = await in_thread(partial(_pixels, data))
    if image_format.size is not None:
        pixels += image_format.size[0] * image_format.size[1]
    hold, work = context.reserved(), partial(fit, data, image_format, context.spool)
    made, mime = await context.pixels.run(work, pixels, context.memory, hold.owner)
    if isinstance(made, bytes) and made is not data:
        await hold.add(len(made))
    return made, mime


def _pixels(data: Content) -> int:
    """Return the number of pixels, as the header says."""
    try:
        with viewed(data) as view, _opened(view) as image:
            if image.width * image.height > MOST_PIXELS:
                raise _unreadable()
            return image.width * image.height
    except _BROKEN:
        raise _unreadable() from None


def fit(data: Content, image_format: ImageFormat, spool: Spool) -> tuple[Content, str]:
    """Return a picture of the size and format that are asked for, and its media type.

    None keeps the size or format, which is a key of `FORMATS`. A picture that needs no change stays as it is, byte
    for byte. The quality (0 to 100) is for lossy formats. Call this in a thread, since it decodes the picture.

    Raises:
        UpstreamFailed: the picture cannot be read, or has too many pixels.
        Saturated: the disk is full.

    """
    try:
        with viewed(data) as view, _opened(view) as image:
            if image.width * image.height > MOST_PIXELS:
                raise _unreadable()
            return _made(data, image, image_format, ContentWriter(spool, MOST_BYTES))
    except _BROKEN:
        raise _unreadable() from None


def _opened(view: View) -> Image.Image:
    file = BytesIO(view) if isinstance(view, bytes) else cast("BinaryIO", view)
    return Image.open(file, formats=_READ)


def _made(data: Content, image: Image.Image, image_format: ImageFormat, out: ContentWriter) -> tuple[Content, str]:
    own, size, quality = (image.format or "").lower(), image_format.size, image_format.quality
    name = image_format.format or (own if own in FORMATS else "png")
    if size in {None, image.size} and name == own and (quality is None or name == "png"):
        return data, FORMATS[name]
    profile = image.info.get("icc_profile") if image.mode in _PROFILED else None
    upright = _plain(ImageOps.exif_transpose(image), opaque=name == "jpeg")
    if size is not None and upright.size != size:
        upright = ImageOps.fit(upright, size, Image.Resampling.LANCZOS)
    file = cast("BinaryIO", out)
    if name == "png":
        upright.save(file, "PNG", icc_profile=profile, exif=b"")
    elif name == "jpeg":
        quality = _JPEG_QUALITY if quality is None else quality
        upright.save(file, "JPEG", quality=quality, icc_profile=profile, exif=b"")
    else:
        quality = _WEBP_QUALITY if quality is None else quality
        upright.save(file, "WEBP", quality=quality, icc_profile=profile or "", exif=b"")
    return out.finish(), FORMATS[name]


def _plain(image: Image.Image, *, opaque: bool) -> Image.Image:
    """Return a picture as RGB or, if it has transparency and need not be opaque, as RGBA."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image if image.mode == "RGBA" else image.convert("RGBA")
    if not opaque:
        return image
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _unreadable() -> UpstreamFailed:
    return UpstreamFailed("The upstream sent a picture that cannot be read.", code="upstream_protocol_error")
