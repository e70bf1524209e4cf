"""Explains a mask to a model without mask support: by a black-and-white image and a sentence."""

from io import BytesIO

import msgspec
from PIL import Image

from protocol.http.media_types import described, sniff
from protocol.model import BadRequest

_BROKEN = (OSError, EOFError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)


class MaskDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A mask as the model gets it."""

    picture: bytes
    """A PNG; white pixels are to be changed."""
    sentence: str


def describe_mask(mask: bytes, size: tuple[int, int]) -> MaskDescription:
    """Convert the mask of an image of this size; its fully transparent pixels are to be changed.

    Raises:
        BadRequest: the mask is not a PNG, has another size, or has no transparent pixels.

    """
    if sniff(mask) != "image/png":
        raise _unfit(f"it is {described(mask)}")
    try:
        with Image.open(BytesIO(mask), formats=("PNG",)) as opened:
            if opened.size != size:
                raise _unfit(f"it has {_pixels(opened.size)} pixels, the picture has {_pixels(size)}")
            if not opened.has_transparency_data:
                raise _unfit("it has no transparency")
            alpha = opened.convert("RGBA").getchannel("A")
    except _BROKEN:
        raise _unfit("it is not a readable PNG") from None
    change = Image.eval(alpha, lambda value: 0 if value else 255)
    box = change.getbbox()
    if box is None:
        raise _unfit("it has no fully transparent pixel")
    out = BytesIO()
    change.save(out, "PNG")
    left, top, right, bottom = (round(100 * at / size[index % 2]) for index, at in enumerate(box))
    sentence = (
        "The last picture is a mask for the first one. Change the first picture only where the mask is white: "
        f"between {left}% and {right}% of its width from the left, and between {top}% and {bottom}% of its height "
        "from the top. Where the mask is black, leave the picture exactly as it is. Do not show the mask."
    )
    return MaskDescription(picture=out.getvalue(), sentence=sentence)


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _unfit(why: str) -> BadRequest:
    message = (
        f"The mask cannot be used: {why}. Send a PNG as large as the first image, transparent where it should change."
    )
    return BadRequest(message, param="mask", code="invalid_image")
