"""Draws text in which each character has a glyph, from Pillow's own font or from GNU Unifont's bitmaps.

`font/glyphs.xz` holds Unifont's bitmaps: the number of ranges, then per range its first character, its length and the
width of its glyphs in bytes (1 or 2), then the bitmaps themselves, 16 rows each, in the ranges' order. All numbers are
little-endian. It is read at the first character that needs it.
"""

import lzma
import struct
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import groupby

from PIL import Image, ImageDraw, ImageFilter, ImageFont

_ROWS = 16
_BASELINE = 14
"""Rows of a bitmap above the baseline."""
_RANGE = struct.Struct("<IIB")
_PROBE_SIZE = 20
_REPLACEMENT = "\ufffd"
_MISSING = "\uffff"
"""A character that Pillow's font does not have."""


class Typesetter:
    """Measures and draws lines of one size, in pixels."""

    def __init__(self, size: float) -> None:
        """Draw with this line size."""
        self._size = max(1.0, size)
        self._font = ImageFont.load_default(size=self._size)
        self._pixel = self._size / _ROWS

    @property
    def line_height(self) -> float:
        """The distance between baselines."""
        return self._size * 1.3

    def width(self, text: str) -> float:
        """Return how wide a text is."""
        return sum(self._run_width(run, own=own) for own, run in _runs(text))

    def _run_width(self, run: str, *, own: bool) -> float:
        if own:
            return self._font.getlength(run)
        return sum(bitmap(character).width for character in run) * self._pixel

    def draw(self, image: Image.Image, line: str, centre: tuple[float, float], stroke: int) -> None:
        """Write a line in white with a black outline around a centre."""
        painter = ImageDraw.Draw(image)
        left, baseline = centre[0] - self.width(line) / 2, centre[1] + self._size * 0.35
        for own, run in _runs(line):
            if own:
                painter.text(
                    (left, baseline),
                    run,
                    fill="white",
                    font=self._font,
                    anchor="ls",
                    stroke_width=stroke,
                    stroke_fill="black",
                )
            else:
                self._draw_bitmaps(image, run, (left, baseline), stroke)
            left += self._run_width(run, own=own)

    def _draw_bitmaps(self, image: Image.Image, run: str, start: tuple[float, float], stroke: int) -> None:
        top, left = round(start[1] - _BASELINE * self._pixel), start[0]
        for character in run:
            glyph = bitmap(character)
            size = (max(1, round(glyph.width * self._pixel)), max(1, round(_ROWS * self._pixel)))
            mask = Image.new("L", (size[0] + 2 * stroke, size[1] + 2 * stroke))
            scaled = glyph.convert("L").resize(size, Image.Resampling.BOX)  # pyright: ignore[reportUnknownMemberType]
            mask.paste(scaled, (stroke, stroke))
            corner = (round(left) - stroke, top - stroke)
            image.paste("black", corner, mask.filter(ImageFilter.MaxFilter(2 * stroke + 1)))
            image.paste("white", corner, mask)
            left += glyph.width * self._pixel


def _runs(text: str) -> Iterator[tuple[bool, str]]:
    """Split a text into runs, each with whether Pillow's font has its glyphs."""
    for own, characters in groupby(text, _is_own):
        yield own, "".join(characters)


@cache
def _probe(character: str) -> bytes:
    """Return how Pillow's font draws a character."""
    image = Image.new("L", (2 * _PROBE_SIZE, 2 * _PROBE_SIZE))
    ImageDraw.Draw(image).text((2, 2), character, fill=255, font=ImageFont.load_default(size=_PROBE_SIZE))
    return image.tobytes()


@cache
def _is_own(character: str) -> bool:
    """Return whether Pillow's font has a glyph for a character."""
    if character.isascii():
        return True
    drawn = _probe(character)
    return drawn != _probe(_MISSING) and any(drawn)


@cache
def bitmap(character: str) -> Image.Image:
    """Return a character's bitmap, 16 rows high; a missing one is replaced by the replacement character's."""
    starts, ranges, data = _bitmaps()
    number = bisect_right(starts, ord(character)) - 1
    start, count, width, offset = ranges[number]
    index = ord(character) - start
    if number < 0 or index >= count:
        return bitmap(_REPLACEMENT)
    length = width * _ROWS
    rows = data[offset + index * length : offset + (index + 1) * length]
    return Image.frombytes("1", (8 * width, _ROWS), rows)


@cache
def _bitmaps() -> tuple[list[int], list[tuple[int, int, int, int]], bytes]:
    """Return the ranges' first characters, the ranges (first, length, width, offset) and all data."""
    data = lzma.decompress((files(__package__ or "") / "font" / "glyphs.xz").read_bytes())
    (count,) = struct.unpack_from("<I", data)
    offset = 4 + count * _RANGE.size
    ranges: list[tuple[int, int, int, int]] = []
    for start, length, width in _RANGE.iter_unpack(data[4:offset]):
        ranges.append((start, length, width, offset))
        offset += length * width * _ROWS
    return [one[0] for one in ranges], ranges, data
