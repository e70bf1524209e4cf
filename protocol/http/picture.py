"""Converts an upstream's picture to the requested size and format, and turns a request's picture upright.

The picture fills the requested size and is cropped evenly ("cover"). Metadata such as camera and location is removed;
the color profile is kept. A picture's structure is read before Pillow opens it, so that no file costs more than an
honest one of its length (`protocol.http.picture_structure`).
"""

import math
import struct
from functools import partial
from io import BytesIO
from typing import BinaryIO, cast

from PIL import Image, ImageOps, PngImagePlugin

from protocol.http.context import UNCHANGED, ImageFormat, RequestContext
from protocol.http.parallel import run_in_worker
from protocol.http.picture_structure import PictureStructure, TooManyBlocks, read_structure, refuse_scans
from protocol.http.pixels import MOST_PIXELS
from protocol.http.spool import ContentWriter, Spool, collect
from protocol.model import BadRequest, Content, FilePart, MediaStream, TooLong, UpstreamFailed, View, viewed

FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
"""The formats of results, with their media types."""

MOST_BYTES = 64 * 1024 * 1024
"""A larger picture is not accepted."""
_READ = ("PNG", "JPEG", "WEBP", "GIF")
_JPEG_QUALITY = 92
_WEBP_QUALITY = 90
PngImagePlugin.MAX_TEXT_MEMORY = 8 * 1024 * 1024  # of the decompressed texts of a picture; Pillow allows 64 MiB
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
_PROFILED = frozenset({"RGB", "RGBA", "P"})
"""The modes whose color profile stays right when they become RGB."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation."""


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
    hold = context.reserved()
    structure = await run_in_worker(partial(_structure, data), hold.owner)
    pixels = math.prod(structure.size)
    wanted = image_format.size_for(*structure.size)
    if wanted != structure.size:
        pixels += math.prod(wanted)
    work = partial(fit, data, image_format, context.spool)
    made, mime = await context.pixels.run(work, pixels, context.memory, hold.owner)
    if isinstance(made, bytes) and made is not data:
        await hold.add(len(made))
    return made, mime


async def seen_size(data: Content, context: RequestContext) -> tuple[int, int] | None:
    """Return width and height as a person sees a picture; None if its header is broken."""
    structure = await run_in_worker(partial(_read, data), context.reserved().owner)
    return structure.size if structure is not None else None


async def turned_upright(part: FilePart, param: str, context: RequestContext) -> FilePart:
    """Return a picture of a request, turned upright if it has an EXIF orientation; `param` is its path.

    Raises:
        BadRequest: the picture is to be turned, and cannot be read (`invalid_image`).
        Saturated: the memory budget or the disk is full.

    """
    structure = await run_in_worker(partial(_read, part.content), context.reserved().owner)
    if structure is None or structure.orientation == 1:
        return part
    try:
        made, mime = await fitted(part.content, UNCHANGED, context)
    except UpstreamFailed:
        message = f"The image at '{param}' cannot be read: save it again, without an EXIF orientation."
        raise BadRequest(message, param=param, code="invalid_image") from None
    if isinstance(made, bytes):
        return FilePart(data=made, mime=mime, name=part.name)
    return FilePart(stored=made, mime=mime, name=part.name)


def _read(data: Content) -> PictureStructure | None:
    with viewed(data) as view:
        return read_structure(view)


def _structure(data: Content) -> PictureStructure:
    """Return the structure of a picture that may be decoded."""
    try:
        structure = _read(data)
        with viewed(data) as view:
            refuse_scans(view)
    except TooManyBlocks:
        raise _unreadable() from None
    if structure is None or math.prod(structure.stored_size) > MOST_PIXELS:
        raise _unreadable()
    return structure


def fit(data: Content, image_format: ImageFormat, spool: Spool) -> tuple[Content, str]:
    """Return an upright picture of the size and format that are asked for, and its media type.

    None keeps the size or format, which is a key of `FORMATS`. A picture that needs no change stays as it is, byte
    for byte. The quality (0 to 100) is for lossy formats. Call this in a thread, since it decodes the picture.

    Raises:
        UpstreamFailed: the picture cannot be read, or has too many pixels or blocks.
        Saturated: the disk is full.

    """
    structure = _structure(data)
    try:
        with viewed(data) as view, _opened(view) as image:
            return _made(data, image, structure, image_format, ContentWriter(spool, MOST_BYTES))
    except _BROKEN:
        raise _unreadable() from None


def _opened(view: View) -> Image.Image:
    file = BytesIO(view) if isinstance(view, bytes) else cast("BinaryIO", view)
    return Image.open(file, formats=_READ)


def _made(
    data: Content, image: Image.Image, structure: PictureStructure, image_format: ImageFormat, out: ContentWriter
) -> tuple[Content, str]:
    own, quality = (image.format or "").lower(), image_format.quality
    own = "jpeg" if own == "mpo" else own  # a JPEG with further pictures, as phones store them
    size = image_format.size_for(*structure.size)
    name = image_format.format or (own if own in FORMATS else "png")
    is_final = size == structure.size and name == own and structure.orientation == 1
    if is_final and (quality is None or name == "png"):
        return data, FORMATS[name]
    profile = image.info.get("icc_profile") if image.mode in _PROFILED else None
    upright = _plain(image, opaque=name == "jpeg")
    if structure.orientation in _TURNS:
        upright = upright.transpose(_TURNS[structure.orientation])
    if upright.size != size:
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
    if image.mode.startswith("I;16"):  # Pillow's conversion of grey with 16 bits makes all above 255 white
        transparent = image.info.get("transparency")
        image = Image.eval(image, lambda value: value * (1 / 257)).convert("L")
        if isinstance(transparent, int):
            image.info["transparency"] = transparent // 257
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
