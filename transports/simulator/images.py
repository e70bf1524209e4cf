"""Draws pictures that show the prompt and their size. It blocks: run it in a worker thread."""

import math
import re
from hashlib import sha256
from io import BytesIO

import msgspec
from PIL import Image, ImageDraw, UnidentifiedImageError

from transports.simulator.glyphs import Typesetter

_ASPECT = re.compile(r"aspect ratio:?\s{0,3}(\d{1,4})\s?[:x/]\s?(\d{1,4})", re.IGNORECASE)
_WIDEST = 4.0
_BANDS = 24
_MOST_CHARACTERS = 400
_MOST_SOURCE_PIXELS = 40_000_000
_SIDE = 1024
"""Longest side of the picture for which sizes are laid out."""


class DrawnPicture(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a picture."""

    prompt: str
    number: int = 1
    """Number of the picture within its turn."""
    aspect: float = 1.0
    """Width by height."""
    source: "bytes | DrawnPicture | None" = None
    """A picture to show inside."""
    length: int | None = None
    """Minimum length of the file in bytes; zeros follow the picture."""
    cut: int | None = None
    """Number of bytes after which the file breaks off."""


def aspect_in(prompt: str) -> float:
    """Return the last aspect ratio that a prompt names ("Aspect ratio: 16:9"); square, if it names none."""
    found = _ASPECT.findall(prompt)
    if not found or not all(map(int, found[-1])):
        return 1.0
    width, height = map(int, found[-1])
    return min(_WIDEST, max(1 / _WIDEST, width / height))


def size_of(aspect: float, longest: int) -> tuple[int, int]:
    """Return the size with this aspect and longest side, in pixels."""
    if aspect >= 1:
        return longest, max(1, round(longest / aspect))
    return max(1, round(longest * aspect)), longest


def draw(picture: DrawnPicture, longest: int, *, png: bool, mark: bool) -> bytes:
    """Return the picture as PNG or JPEG; `mark` puts the site's visible mark into a corner."""
    size = size_of(picture.aspect, longest)
    image = Image.new("RGB", size)
    painter = ImageDraw.Draw(image)
    # the background: bands of colour that depend on the prompt and the number
    digest = sha256(f"{picture.number} {picture.prompt}".encode("utf-8", "surrogatepass")).digest()
    dark = [byte // 3 for byte in digest[:3]]
    step = [byte // 40 for byte in digest[3:6]]
    for band in range(_BANDS):
        colour = tuple(min(255, low + band * more) for low, more in zip(dark, step, strict=True))
        top, bottom = size[1] * band // _BANDS, size[1] * (band + 1) // _BANDS
        painter.rectangle((0, top, size[0], bottom), fill=colour)
    scale = longest / _SIDE
    below = 0.0
    if picture.source is not None:
        source = picture.source
        if isinstance(source, DrawnPicture):
            source = draw(source, _SIDE, png=False, mark=False)
        below = _show_source(image, source)
    _write(image, picture, below, scale)
    if mark:  # in the lower right corner
        reach, inner = 28 * scale, 8 * scale
        x, y = size[0] - 2 * reach, size[1] - 2 * reach
        points = [
            (x + radius * math.cos(turn * math.pi / 4), y + radius * math.sin(turn * math.pi / 4))
            for turn, radius in enumerate([reach, inner] * 4)
        ]
        painter.polygon(points, fill="white")
    out = BytesIO()
    if png:
        image.save(out, "PNG", compress_level=1)
    else:
        image.save(out, "JPEG", quality=85)
    return out.getvalue()


def _show_source(image: Image.Image, source: bytes) -> float:
    """Paste a picture into the upper half; return its lower edge, or 0 if it cannot be read."""
    width, height = image.size
    try:
        with Image.open(BytesIO(source)) as opened:
            if math.prod(opened.size) > _MOST_SOURCE_PIXELS:
                return 0.0
            opened.thumbnail((width * 9 // 10, height // 2))
            inside = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return 0.0
    left, top = (width - inside.width) // 2, height // 20
    frame = max(2, width // 200)
    box = (left - frame, top - frame, left + inside.width + frame - 1, top + inside.height + frame - 1)
    ImageDraw.Draw(image).rectangle(box, fill="white")
    image.paste(inside, (left, top))
    return float(top + inside.height)


def _write(image: Image.Image, picture: DrawnPicture, below: float, scale: float) -> None:
    """Write the prompt, wrapped, and the size in pixels under `below`."""
    width, height = image.size
    words = " ".join(picture.prompt.encode("utf-8", "replace").decode().split())
    words = words[:_MOST_CHARACTERS] + ("…" if len(words) > _MOST_CHARACTERS else "")
    size = f"simulated picture {picture.number}: {width} x {height} pixels"
    for points in (56, 44, 34, 26, 18, 12):
        setter = Typesetter(points * scale)
        lines = [*_wrapped(words, setter, width * 0.9), "", *_wrapped(size, setter, width * 0.9)]
        if len(lines) * setter.line_height <= (height - below) * 0.9:
            break
    middle = below + (height - below) / 2 - (len(lines) - 1) / 2 * setter.line_height
    stroke = max(1, round(2 * scale))
    for number, line in enumerate(lines):
        setter.draw(image, line, (width / 2, middle + number * setter.line_height), stroke)


def _wrapped(text: str, setter: Typesetter, width: float) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if setter.width(longer) <= width:
            lines[-1] = longer
            continue
        lines.append("")
        for character in word:
            if setter.width(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return [line for line in lines if line]
