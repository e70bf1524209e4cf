"""Converts an image request to a `GenerationRequest`; refuses fields that are not supported."""

import msgspec

from protocol.http.context import ORIGINAL_PIXELS, ImageForm, ImageFormat, RequestContext, caller_of
from protocol.http.ignored import IgnoredFields
from protocol.http.picture_parameters import read_picture_parameters
from protocol.model import (
    BadRequest,
    Caller,
    Capability,
    Catalogue,
    GenerationRequest,
    Role,
    Selection,
    TextPart,
    Turn,
    Unsupported,
)
from protocol.openai.images import wire
from protocol.openai.images.inputs import Inputs

_QUALITIES = ("low", "medium", "high")
_BEST_QUALITIES = ("high", "hd")
"""These ask for larger images where an upstream has several sizes, and the request has none."""
_IGNORED = IgnoredFields(
    {
        "complexity": ("auto",),
        "input_fidelity": ("low",),
        "moderation": ("auto",),
        "partial_images": (0,),
        "quality": ("auto", *_BEST_QUALITIES),
    }
)
"""Fields that have no effect, since the website has no such options. No partial image is sent: it shows none."""


class ImageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed image request, without the images of an edit."""

    selection: Selection
    prompt: str
    n: int
    aspect: tuple[int, int] | None
    pixels: int | None
    """About how many pixels the upstream's images should have; None: what is usual."""
    image_format: ImageFormat
    linked: bool
    """Whether the response contains links to the images."""
    inline: bool
    """Whether the response contains the images in base64."""
    stream: bool
    quality: str | None
    """The requested quality, if OpenAI's responses can show it."""
    ignored: tuple[str, ...] = ()
    """The fields that have no effect although they would change the images."""

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
            pixels=self.pixels,
        )


def read_options(
    body: wire.ImageRequest, selection: Selection, query: bytes = b"", default_form: ImageForm = "both"
) -> ImageOptions:
    """Parse a request to a selected model, without its images.

    `query` is that of its URL, and `default_form` what a whole response has of each image by default.

    Raises:
        BadRequest: a field is invalid or not supported; `param` is its path.

    """
    refuse_unsupported(body)
    pictures = read_picture_parameters(body, query, draws=True)
    named_gpt_image = "gpt-image" in (selection.alias or selection.name)  # those models of OpenAI have no links
    in_base64 = body.stream or (named_gpt_image and default_form == "url")
    if body.n is not None and pictures.n not in (None, body.n):
        where = pictures.paths["n"]
        raise BadRequest(f"'n' and '{where}' contradict each other: send one of them.", param=where)
    form = body.response_format or ("b64_json" if in_base64 else default_form)
    return ImageOptions(
        selection=selection,
        prompt="\n\n".join((body.prompt, *pictures.sentences)),
        n=body.n or pictures.n or 1,
        aspect=pictures.aspect,
        pixels=pictures.image_format.pixels or (ORIGINAL_PIXELS if body.quality in _BEST_QUALITIES else None),
        image_format=pictures.image_format,
        linked=form != "b64_json",
        inline=form != "url",
        stream=bool(body.stream),
        quality=next((known for known in _QUALITIES if known == body.quality), None),
        ignored=(*_IGNORED.sent(body), *pictures.ignored),
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
    if body.partial_images and not body.stream:
        raise BadRequest("'partial_images' requires 'stream': true.", param="partial_images")
