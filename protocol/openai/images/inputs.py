"""Reads the bodies of image requests, JSON or a form with the same fields, and the images of an edit."""

import re
from collections.abc import Iterator
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request

from protocol.http.context import RequestContext
from protocol.http.files import FileField, from_id, from_url, take
from protocol.http.form import Upload, read_fields
from protocol.http.lenient import LenientDecoder
from protocol.http.parallel import gather
from protocol.model import BadRequest, FilePart, MediaKind, MediaPart
from protocol.openai.images import wire

if TYPE_CHECKING:  # imported with the first mask
    from protocol.openai.images.mask import MaskDescription

_PICTURE = re.compile(r"images?(?:\[(\d{0,4})\])?")
_MASK = "mask"
_UNSET = wire.Source()
_FILES = ("image", "images", _MASK)


class FormFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The uploaded files of a form."""

    pictures: tuple[Upload, ...] = ()
    mask: Upload | None = None


async def read_generation(request: Request) -> wire.Generation:
    """Read a body of `/images/generations`.

    Raises:
        BadRequest: the body is malformed or has pictures.
        GatewayError, ClientGone: as `read_fields`.

    """
    body, files = await read_fields(request, wire.GENERATIONS, _FILES)
    for upload in files:
        raise _no_pictures(upload.field)
    for field in ("image", "images", "mask"):
        if getattr(body, field):
            raise _no_pictures(field)
    return body


async def read_edit(request: Request, decoder: LenientDecoder[Any] = wire.EDITS) -> tuple[wire.Edit, FormFiles]:
    """Read a body of `/images/edits`, or of another endpoint with these fields; only a form has files.

    Raises:
        BadRequest: the body is malformed or has a file in an unknown field.
        GatewayError, ClientGone: as `read_fields`.

    """
    body, files = await read_fields(request, decoder, _FILES)
    pictures: list[tuple[int, Upload]] = []
    mask: Upload | None = None
    for upload in files:
        found = _PICTURE.fullmatch(upload.field)
        if found:
            pictures.append((int(found[1] or 0), upload))
        elif upload.key == _MASK and mask is None:
            mask = upload
        else:
            message = (
                f"The form has an unknown file '{upload.label}': send files as 'image', and at most one as 'mask'."
            )
            raise BadRequest(message, param=upload.label)
    pictures.sort(key=itemgetter(0))
    return body, FormFiles(pictures=tuple(upload for _, upload in pictures), mask=mask)


def _no_pictures(field: str) -> BadRequest:
    field = field if field in {"image", "images", "image[]", "mask"} else "image"
    return BadRequest("This endpoint takes no images: send them to '/v1/images/edits'.", param=field)


Picture = FilePart | MediaPart
ImageSource = Upload | str | wire.Source


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """The images of an edit."""

    pictures: tuple[Picture, ...]
    sentence: str = ""
    """A sentence that explains the mask to the model."""


async def take_inputs(body: wire.Edit, files: FormFiles, context: RequestContext) -> Inputs:
    """Read all images of an edit, and its mask, and turn them upright.

    Raises:
        BadRequest: there are no images or too many, one is not an image, or the mask cannot be used.
        HttpError: a file is too large (413).

    """
    sources = [*_pictures(body, files)]
    mask = files.mask or (body.mask if body.mask != _UNSET else None)
    if not sources:
        raise BadRequest("There is no image to edit: send at least one 'image'.", param="image")
    if len(sources) + (mask is not None) > context.limits.files:
        raise BadRequest(f"Too many images: send at most {context.limits.files}, including the mask.", param="image")
    if mask is not None:
        sources.append((mask, _MASK))
    taken = tuple(await gather([partial(_take, one, param, context) for one, param in sources]))
    if mask is None:
        return Inputs(pictures=taken)
    first, last = taken[0], taken[-1]  # the last image is the mask for the first
    if not isinstance(first, FilePart) or not isinstance(last, FilePart):
        message = (
            "A mask cannot be combined with links of this gateway: "
            "send the mask and the first image as files or data URLs."
        )
        raise BadRequest(message, param=_MASK)
    from protocol.http.picture import seen_size

    size = await seen_size(first.content, context)
    if size is None:
        raise BadRequest("The first image has no size: save it again.", param="image", code="invalid_image")
    work = partial(_describe, last, size)
    description = await context.pixels.run(work, size[0] * size[1], context.memory, context.reserved().owner)
    part = FilePart(data=description.picture, mime="image/png", name="mask.png")
    return Inputs(pictures=(*taken[:-1], part), sentence=description.sentence)


def _pictures(body: wire.Edit, files: FormFiles) -> Iterator[tuple[ImageSource, str]]:
    """Yield each image and its path."""
    several = len(files.pictures) > 1
    for index, upload in enumerate(files.pictures):
        yield upload, f"image[{index}]" if several else "image"
    if isinstance(body.image, list):
        yield from ((source, f"image[{index}]") for index, source in enumerate(body.image))
    elif body.image is not None and body.image != _UNSET:
        yield body.image, "image"
    yield from ((source, f"images[{index}]") for index, source in enumerate(body.images or ()))


async def _take(source: ImageSource, param: str, context: RequestContext) -> Picture:
    part: Picture
    if isinstance(source, Upload):
        field = FileField(param=param, kind=MediaKind.IMAGE, name=source.name)
        part = await take(source.data, field, context)
    else:
        part = await _from_source(wire.Source(image_url=source) if isinstance(source, str) else source, param, context)
    if isinstance(part, MediaPart):
        return part
    from protocol.http.picture import turned_upright

    return await turned_upright(part, param, context)


async def _from_source(source: wire.Source, param: str, context: RequestContext) -> Picture:
    if source.image_url is not None:
        return await from_url(source.image_url, FileField(param=param, kind=MediaKind.IMAGE), context)
    if source.file_id is not None:
        return await from_id(source.file_id, FileField(param=f"{param}.file_id", kind=MediaKind.IMAGE), context)
    raise BadRequest("An image has no 'image_url' or 'file_id': send one.", param=f"{param}.image_url")


def _describe(mask: FilePart, size: tuple[int, int]) -> "MaskDescription":
    from protocol.openai.images.mask import describe_mask

    return describe_mask(mask.loaded().data, size)
