"""Converts an image request to a `GenerationRequest`; refuses fields that are not supported."""

import math
import re

import msgspec

from protocol.http.context import ImageFormat, RequestContext, caller_of
from protocol.model import (
    BadRequest,
    Caller,
    Capability,
    Catalogue,
    GenerationRequest,
    Rendition,
    Role,
    Selection,
    TextPart,
    Turn,
    Unsupported,
)
from protocol.openai.images import wire
from protocol.openai.images.inputs import Inputs

_SIZE = re.compile(r"([1-9][0-9]{1,3})[xX]([1-9][0-9]{1,3})")
_LEAST_SIDE = 64
_MOST_SIDE = 4096
_USUAL_SIDE = 1024
"""The longer side of an image in the usual rendition."""
_ASPECTS = ((1, 1), (5, 4), (4, 3), (3, 2), (16, 9), (21, 9), (4, 5), (3, 4), (2, 3), (9, 16))
"""The aspect ratios that the models draw."""
_STYLES = {"vivid": "Style: vivid, hyper-real and dramatic.", "natural": "Style: natural, nothing hyper-real."}
_QUALITIES = ("low", "medium", "high", "xhigh", "max")
_LOSSY = frozenset({"jpeg", "webp"})
_BEST = 100
"""The default of `output_compression`."""


class ImageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed image request, without the images of an edit."""

    selection: Selection
    prompt: str
    n: int
    aspect: tuple[int, int] | None
    image_format: ImageFormat
    inline: bool
    """Whether the response contains the images in base64, instead of links."""
    stream: bool
    quality: str | None
    """The requested quality, if OpenAI's responses can show it."""

    def request(self, context: RequestContext, inputs: Inputs) -> GenerationRequest:
        """Return the request to the model: the images, then the prompt."""
        text = "\n\n".join(filter(None, (self.prompt, inputs.sentence)))
        return GenerationRequest(
            id=context.id,
            caller=caller_of(context),
            selection=self.selection,
            turns=(Turn(role=Role.USER, parts=(*inputs.pictures, TextPart(text=text))),),
            attempts_before=context.attempts_before,
            aspect=self.aspect,
        )


def read_options(body: wire.ImageRequest, selection: Selection) -> ImageOptions:
    """Parse a request to a selected model, without its images.

    Raises:
        BadRequest: a field is invalid or not supported; `param` is its path.

    """
    refuse_unsupported(body)
    size = None
    if body.size is not None and body.size != "auto":
        found = _SIZE.fullmatch(body.size)
        size = (int(found[1]), int(found[2])) if found else (0, 0)
        if not all(_LEAST_SIDE <= side <= _MOST_SIDE for side in size):
            message = f"'size' must be 'auto' or '<width>x<height>', each from {_LEAST_SIDE} to {_MOST_SIDE} pixels."
            raise BadRequest(message, param="size")
    rendition = Rendition.LARGE if size is not None and max(size) > _USUAL_SIDE else Rendition.USUAL
    if body.return_origin_image:  # only on request, since the original may carry a watermark
        rendition = Rendition.ORIGINAL
    return ImageOptions(
        selection=selection,
        prompt="\n\n".join(filter(None, (body.prompt, _STYLES.get(body.style or "")))),
        n=body.n or 1,
        aspect=closest(size) if size is not None else None,
        image_format=ImageFormat(
            rendition=rendition,
            size=size,
            format=body.output_format,
            quality=body.output_compression if body.output_format in _LOSSY else None,
        ),
        inline=(body.response_format or ("b64_json" if body.stream else "url")) == "b64_json",
        stream=bool(body.stream),
        quality=next((known for known in _QUALITIES if known == body.quality), None),
    )


def select(name: str | None, catalogue: Catalogue, caller: Caller) -> Selection:
    """Return the model that draws: a base means its `-imagen` form, no name the first that the license allows.

    Raises:
        Unsupported: the model does not draw.
        ModelUnknown: the model does not exist.

    """
    if name is None:
        drawing = _drawing(catalogue)
        return next((one for one in drawing if caller.may_use(one)), drawing[0])
    selection = catalogue.resolve(name)
    if selection.capability is Capability.CHAT and not selection.extended:
        selection = msgspec.structs.replace(selection, capability=Capability.IMAGEN)
    if selection.capability is not Capability.IMAGEN:
        able = ", ".join(one.id for one in _drawing(catalogue))
        raise Unsupported(f"The model '{selection.id}' draws no images. Use one of: {able}.", param="model")
    return selection


def admit_pictures(selection: Selection, catalogue: Catalogue) -> None:
    """Raise Unsupported if the model takes no images."""
    if selection.model.guest:
        able = ", ".join(one.id for one in _drawing(catalogue))
        raise Unsupported(f"The model '{selection.id}' takes text only. Use one of: {able}.", param="model")


def _drawing(catalogue: Catalogue) -> list[Selection]:
    return [
        one
        for one in catalogue.selections()
        if one.capability is Capability.IMAGEN and not one.model.guest and one.deprecated is None
    ]


def refuse_unsupported(body: wire.ImageRequest) -> None:
    """Raise BadRequest for the first field that is not supported."""
    for field in ("frame_count", "frame_duration_ms", "svg", "markup"):
        if getattr(body, field):
            message = f"'{field}' is not supported by this gateway."
            raise BadRequest(message, param=field, code="unsupported_parameter")
    if not body.prompt.strip():
        raise BadRequest("The prompt is empty: describe the image.", param="prompt")
    if body.background == "transparent":
        message = "The models draw no transparent background: set 'background' to 'opaque' or 'auto'."
        raise Unsupported(message, param="background")
    if body.output_compression not in {None, _BEST} and body.output_format not in _LOSSY:
        message = "'output_compression' requires an 'output_format' of 'jpeg' or 'webp'."
        raise BadRequest(message, param="output_compression")
    if body.partial_images and not body.stream:
        raise BadRequest("'partial_images' requires 'stream': true.", param="partial_images")


def closest(size: tuple[int, int]) -> tuple[int, int]:
    """Return the aspect ratio of the models that is closest to a size."""
    ratio = math.log(size[0] / size[1])
    return min(_ASPECTS, key=lambda shape: abs(math.log(shape[0] / shape[1]) - ratio))
