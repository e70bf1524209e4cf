"""What a mask means, for a model that knows no masks: a picture in black and white, and a sentence."""

from io import BytesIO

import msgspec
from PIL import Image

from protocol.model import BadRequest

_BROKEN = (OSError, EOFError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """A mask, understood."""

    picture: bytes
    """A PNG: white is what shall change."""
    sentence: str


def meaning(mask: bytes, size: tuple[int, int]) -> Meaning:
    """Say what the mask of a picture of this size means: its fully transparent pixels are what shall change.

    Raises:
        BadRequest: it is no PNG, of another size, or has no such pixels.

    """
    try:
        with Image.open(BytesIO(mask), formats=("PNG",)) as opened:
            if opened.size != size:
                raise _unfit(f"it has {_pixels(opened.size)} pixels, the picture has {_pixels(size)}")
            if not opened.has_transparency_data:
                raise _unfit("it has no transparency")
            alpha = opened.convert("RGBA").getchannel("A")
    except _BROKEN:
        raise _unfit("it is no PNG that can be read") from None
    change = Image.eval(alpha, lambda value: 0 if value else 255)
    box = change.getbbox()
    if box is None:
        raise _unfit("no pixel of it is fully transparent")
    out = BytesIO()
    change.save(out, "PNG")
    return Meaning(picture=out.getvalue(), sentence=_sentence(box, size))


def _sentence(box: tuple[int, int, int, int], size: tuple[int, int]) -> str:
    left, top, right, bottom = (round(100 * at / size[index % 2]) for index, at in enumerate(box))
    return (
        "The last picture is a mask for the first one. Change the first picture only where the mask is white: "
        f"between {left}% and {right}% of its width from the left, and between {top}% and {bottom}% of its height "
        "from the top. Where the mask is black, leave the picture exactly as it is. Do not show the mask."
    )


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _unfit(why: str) -> BadRequest:
    message = f"The mask cannot be used: {why}. It must be a PNG of the first picture's size, transparent where that "
    return BadRequest(f"{message}shall change.", param="mask", code="invalid_image")
