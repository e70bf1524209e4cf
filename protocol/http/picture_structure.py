"""Reads the size, the frames and the orientation of a picture from its structure, without decoding pixels.

A picture is a list of blocks: segments (JPEG), chunks (PNG, WebP), blocks and sub-blocks (GIF). What is counted may
stand behind any number of others: PNG allows `eXIf` and WebP `EXIF` after the pixels, and an animation's frames reach
to the end of the file. So a walk visits all blocks, and a `BlockBudget` bounds them: a file with many times the blocks
of an honest file of its length is refused. Run a walk in a worker thread: it pauses, so that the event loop gets the
interpreter's lock at once, which a thread that computes holds for 5 ms at a time.

Example: a GIF of 20 MB has about 80,000 sub-blocks of 255 bytes. Its budget is 320,000; the same bytes as 10,000,000
sub-blocks of one byte raise TooManyBlocks after 320,000.
"""

import re
import struct
import time
from collections.abc import Iterator

import msgspec

from protocol.http.iso_media import heif_frames, heif_size
from protocol.http.media_types import sniff
from protocol.model import View

_HEAD = 1024
_LEAST_BLOCKS = 8192
_BYTES_PER_BLOCK = {
    "image/avif": 4096,
    "image/gif": 64,
    "image/heic": 4096,
    "image/heif": 4096,
    "image/jpeg": 4096,
    "image/png": 1024,
    "image/webp": 1024,
}
"""An honest file has at most one block per this many bytes, apart from the first `_LEAST_BLOCKS`."""
_BLOCKS_PER_PAUSE = 1024
"""They take about 0.2 ms."""
_PAUSE_SECONDS = 0.0001
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A marker of a JPEG, except those of restarts; coded pixels never hold its bytes (ITU T.81, B.1.1)."""
_WINDOW = 4 * 1024 * 1024
_MOST_SCANS = 64
"""A progressive JPEG has about ten; each costs a decoder as much as a whole picture."""
_MOST_EXIF_ENTRIES = 1024
_MOST_EXIF_BYTES = 16 * 1024 * 1024
"""The values of a directory may share bytes, so their sizes say how much a reader of EXIF copies."""
_ORIENTATION = 0x0112
_EXIF_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8)
"""The size of a value by its type (TIFF 6.0, section 2)."""
_SIDEWAYS = frozenset({5, 6, 7, 8})


class TooManyBlocks(ValueError):
    """A picture has many times the blocks of an honest file of its length."""


class BlockBudget:
    """Bounds the blocks that a walk visits."""

    def __init__(self, most: int) -> None:
        """Allow `most` blocks."""
        self._most = most
        self.visited = 0

    def visit(self) -> None:
        """Count one block, and let other threads run now and then.

        Raises:
            TooManyBlocks: the budget is used up.

        """
        if self.visited >= self._most:
            raise TooManyBlocks
        self.visited += 1
        if not self.visited % _BLOCKS_PER_PAUSE:
            time.sleep(_PAUSE_SECONDS)


class PictureStructure(msgspec.Struct, frozen=True, kw_only=True):
    """What the structure of a picture says."""

    stored_size: tuple[int, int]
    """Width and height in pixels, as they are stored."""
    frames: int = 1
    orientation: int = 1
    """How a viewer turns the picture: the EXIF orientation, 1 to 8; 1 leaves it as it is stored."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as a person sees the picture."""
        width, height = self.stored_size
        return (height, width) if self.orientation in _SIDEWAYS else (width, height)


def read_structure(data: View, budget: BlockBudget | None = None) -> PictureStructure | None:
    """Return the structure of a picture; None if its header is broken, or it is none of a supported format.

    Raises:
        TooManyBlocks: the file has more blocks than `budget` allows, by default a multiple of an honest file's.

    """
    mime = sniff(data[:_HEAD])
    if mime not in _BYTES_PER_BLOCK:
        return None
    if budget is None:
        budget = BlockBudget(_LEAST_BLOCKS + len(data) // _BYTES_PER_BLOCK[mime])
    found = _WALKS[mime](data, budget)
    return found if found is not None and min(found.stored_size) > 0 else None


def read_jpeg(data: View, budget: BlockBudget) -> PictureStructure | None:
    """Read the frame header and EXIF, which stand before the first scan (ITU T.81, B.1; EXIF 2.3, 4.7)."""
    size = None
    exif: list[bytes] = []  # Pillow joins several segments, too
    for marker, start, length in _jpeg_segments(data, budget):
        if marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            exif.append(data[start + 6 : start + length])
        elif marker == 0xE2 and data[start : start + 4] == b"MPF\0":
            exif_orientation(data[start + 4 : start + length])  # the index of several pictures is such a directory
        elif 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC} and size is None:
            size = int.from_bytes(data[start + 3 : start + 5]), int.from_bytes(data[start + 1 : start + 3])
    if size is None:
        return None
    return PictureStructure(stored_size=size, orientation=exif_orientation(b"".join(exif)))


def _jpeg_segments(data: View, budget: BlockBudget) -> Iterator[tuple[int, int, int]]:
    """Yield marker, offset and length of the segments' contents, up to the first scan."""
    at = 2
    while len(data) >= at + 9 and data[at] == 0xFF:
        budget.visit()
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        if length < 2 or marker == 0xD9:
            return
        yield marker, at + 4, length - 2
        if marker == 0xDA:
            return
        at += 2 + length


def refuse_scans(data: View) -> None:
    """Raise TooManyBlocks for a JPEG with too many scans. Call this before a picture is decoded.

    Data behind the end of the picture, such as the film of a motion photo, is not read.
    """
    budget = BlockBudget(_LEAST_BLOCKS + len(data) // _BYTES_PER_BLOCK["image/jpeg"])
    at, scans = 2, 0
    while data[:2] == b"\xff\xd8" and at < len(data):
        found = _MARKER.search(data, at, at + _WINDOW)
        if found is None:
            at += _WINDOW - 1
            continue
        budget.visit()
        marker, at = found[0][1], found.end()
        if marker == 0xD9:
            return
        scans += marker == 0xDA
        if scans > _MOST_SCANS:
            raise TooManyBlocks
        at += int.from_bytes(data[at : at + 2])


def exif_orientation(tiff: bytes) -> int:
    """Return the orientation in EXIF, a TIFF directory, or 1 (EXIF 2.3, 4.6.2).

    Raises:
        TooManyBlocks: the directory has too many entries, or entries that claim far more bytes than there are.

    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return 1
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    if at + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    found, claimed = 1, 0
    for entry in range(at + 2, min(at + 2 + 12 * count, len(tiff) - 11), 12):
        fields: tuple[int, int, int, int] = struct.unpack_from(f"{order}HHIH", tiff, entry)
        tag, kind, values, value = fields
        claimed += values * (_EXIF_SIZES[kind] if kind < len(_EXIF_SIZES) else 0)
        if entry - at > 12 * _MOST_EXIF_ENTRIES or claimed > _MOST_EXIF_BYTES:
            raise TooManyBlocks
        if tag == _ORIENTATION and kind == 3 and 1 <= value <= 8:
            found = value
    return found


def read_png(data: View, budget: BlockBudget) -> PictureStructure | None:
    """Read IHDR, which is first, acTL, and eXIf, which may be last (PNG, third edition, 5.6 and 11)."""
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None
    frames, said, orientation = 0, 1, 1
    for kind, start, length in _png_chunks(data, budget):
        match kind:
            case b"IHDR" if start != 16:
                return None
            case b"acTL":
                said = max(said, int.from_bytes(data[start : start + 4]))
            case b"fcTL":
                frames += 1
            case b"eXIf":
                orientation = exif_orientation(data[start : start + length])
            case _:
                pass
    size = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    return PictureStructure(stored_size=size, frames=max(said, frames), orientation=orientation)


def _png_chunks(data: View, budget: BlockBudget) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, offset and length of the chunks' contents, up to IEND."""
    at = 8
    while len(kind := data[at + 4 : at + 8]) == 4 and kind != b"IEND":
        budget.visit()
        length = int.from_bytes(data[at : at + 4])
        yield kind, at + 8, length
        at += 12 + length


def read_webp(data: View, budget: BlockBudget) -> PictureStructure | None:
    """Read the first chunk, the frames, and EXIF, which is behind the pixels (RFC 9649, 2.7)."""
    size = _webp_size(data)
    if size is None:
        return None
    frames, orientation, at = 0, 1, 12
    while len(kind := data[at : at + 4]) == 4:
        budget.visit()
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF":
            orientation = exif_orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + (length & 1)
    return PictureStructure(stored_size=size, frames=max(1, frames), orientation=orientation)


def _webp_size(data: View) -> tuple[int, int] | None:
    form = data[12:16]
    if len(data) < 30:
        return None
    if form == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if form == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None


def read_gif(data: View, budget: BlockBudget) -> PictureStructure | None:
    """Read the screen and all frames, which may reach beyond it (GIF89a, 18 and 20)."""
    if len(data) < 10:
        return None
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    frames = 0
    for at in _gif_frames(data, budget):
        left, top, wide, tall = struct.unpack("<4H", data[at + 1 : at + 9].ljust(8, b"\0"))
        width, height, frames = max(width, left + wide), max(height, top + tall), frames + 1
    return PictureStructure(stored_size=(width, height), frames=max(1, frames))


def _gif_frames(data: View, budget: BlockBudget) -> Iterator[int]:
    """Yield the offset of each frame."""
    at = 13 + _palette(data, 10)
    while at < len(data):
        budget.visit()
        block = data[at]
        if block == 0x2C:
            yield at
            at = _after_sub_blocks(data, at + 11 + _palette(data, at + 9), budget)
        elif block == 0x21:
            at = _after_sub_blocks(data, at + 2, budget)
        else:
            return


def _palette(data: View, at: int) -> int:
    flags = data[at] if at < len(data) else 0
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: View, at: int, budget: BlockBudget) -> int:
    size = len(data)
    while at < size and (length := data[at]):
        budget.visit()
        at += length + 1
    return at + 1


def read_heif(data: View, budget: BlockBudget) -> PictureStructure | None:
    """Read a HEIC, HEIF or AVIF; its rotation is part of the format, and viewers ignore its EXIF."""
    size = heif_size(data, budget.visit)
    if size is None:
        return None
    return PictureStructure(stored_size=size, frames=heif_frames(data, budget.visit))


_WALKS = {
    "image/avif": read_heif,
    "image/gif": read_gif,
    "image/heic": read_heif,
    "image/heif": read_heif,
    "image/jpeg": read_jpeg,
    "image/png": read_png,
    "image/webp": read_webp,
}
