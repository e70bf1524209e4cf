"""Makes of an upstream's picture the one that was asked for: so many pixels, in such a format.

Covers: the picture fills the frame, what sticks out is cut off evenly. What a picture says beside its pixels
(camera, place) is left out, its colour profile is kept.
"""

import struct
from functools import partial
from io import BytesIO

from PIL import Image, ImageOps

from protocol.http.beside import beside
from protocol.http.budget import ByteBudget, pixels_reserved
from protocol.model import MediaStream, UpstreamFailed

FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
"""What can be made, and its media type."""

MOST_PIXELS = 50_000_000
"""A picture that claims more is not decoded."""

_MOST_BYTES = 64 * 1024 * 1024
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


async def whole_picture(stream: MediaStream) -> bytes:
    """Return all bytes of a picture.

    Raises:
        UpstreamFailed: they are more than any picture has.

    """
    data = bytearray()
    async for piece in stream:
        data += piece
        if len(data) > _MOST_BYTES:
            raise UpstreamFailed("The upstream's picture is larger than this gateway accepts.")
    return bytes(data)


async def fitted(
    data: bytes,
    memory: ByteBudget,
    *,
    size: tuple[int, int] | None,
    format: str | None,  # noqa: A002 -- OpenAI's and Pillow's word
    quality: int | None = None,
) -> tuple[bytes, str]:
    """Do `fit` beside the event loop, with what it takes reserved of `memory`.

    Raises:
        UpstreamFailed: the upstream's bytes are no picture that can be read.
        Saturated: there is no memory for it.

    """
    async with pixels_reserved(memory, _pixels(data)):
        return await beside(partial(fit, data, size=size, format=format, quality=quality))


def _pixels(data: bytes) -> int:
    """Return how many pixels a picture has, by its header."""
    try:
        with Image.open(BytesIO(data), formats=_READ) as image:
            return min(image.width * image.height, MOST_PIXELS)
    except _BROKEN:
        raise _unreadable() from None


def fit(
    data: bytes,
    *,
    size: tuple[int, int] | None,
    format: str | None,  # noqa: A002 -- OpenAI's and Pillow's word
    quality: int | None = None,
) -> tuple[bytes, str]:
    """Return a picture of exactly `size` in `format` (a key of `FORMATS`), and its media type.

    None leaves it as it is; what already is as asked is returned byte for byte. `quality` (0 to 100) is for the
    formats that lose something.

    Raises:
        UpstreamFailed: these bytes are no picture that can be read, or one of too many pixels.

    """
    try:
        with Image.open(BytesIO(data), formats=_READ) as image:
            if image.width * image.height > MOST_PIXELS:
                raise _unreadable()
            return _made(data, image, size, format, quality)
    except _BROKEN:
        raise _unreadable() from None


def _made(
    data: bytes,
    image: Image.Image,
    size: tuple[int, int] | None,
    wanted: str | None,
    quality: int | None,
) -> tuple[bytes, str]:
    own = (image.format or "").lower()
    name = wanted or (own if own in FORMATS else "png")
    if size in {None, image.size} and name == own and (quality is None or name == "png"):
        return data, FORMATS[name]
    profile = image.info.get("icc_profile") if image.mode in _PROFILED else None
    upright = _plain(ImageOps.exif_transpose(image), opaque=name == "jpeg")
    if size is not None and upright.size != size:
        upright = ImageOps.fit(upright, size, Image.Resampling.LANCZOS)
    return _encoded(upright, name, quality, profile), FORMATS[name]


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


def _encoded(image: Image.Image, name: str, quality: int | None, profile: bytes | None) -> bytes:
    out = BytesIO()
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
    return out.getvalue()


def _unreadable() -> UpstreamFailed:
    return UpstreamFailed("The upstream sent a picture that cannot be read.", code="upstream_protocol_error")
