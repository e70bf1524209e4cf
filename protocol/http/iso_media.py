"""Reads what the boxes of an ISO media file (MP4, M4A, HEIC, AVIF) say of it, without decoding.

The file is a list of boxes, some of which hold others (ISO/IEC 14496-12, 4.2). A film has a handler in each track, and
a picture has its properties in one box (ISO/IEC 23008-12, 6.5 and 9.3):

    ftyp  moov( mvhd trak( tkhd mdia( mdhd hdlr … ) ) trak( … ) )  mdat
    ftyp  meta( hdlr pitm iinf iloc iprp( ipco( ispe irot … ) ipma ) )  mdat

There are several pictures: the tiles of a grid, a thumbnail, a depth map. The largest is the one that is shown.
"""

from collections.abc import Callable, Iterator
from itertools import islice

from protocol.model import View

_FULL_BOX = 4
"""`meta` begins with a version and flags."""
_MOST_TRACKS = 64
_MOST_BOXES = 1024


def heif_size(data: View, visit: Callable[[], None]) -> tuple[int, int] | None:
    """Return width and height as a person sees the picture; None if the boxes have no size. `visit` counts boxes.

    Raises:
        Exception: as `visit` does.

    """
    sizes: list[tuple[int, int]] = []
    sideways = False
    for kind, at, _ in _within(data, (0, len(data)), (b"meta", b"iprp", b"ipco"), visit):
        if kind == b"ispe":
            sizes.append((int.from_bytes(data[at + 4 : at + 8]), int.from_bytes(data[at + 8 : at + 12])))
        elif kind == b"irot":  # counter-clockwise, in units of 90 degrees
            sideways = sideways or int.from_bytes(data[at : at + 1]) % 2 == 1
    if not sizes:
        return None
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return (height, width) if sideways else (width, height)


def heif_frames(data: View, visit: Callable[[], None]) -> int:
    """Return the number of frames of a picture that moves, as its longest track says (ISO/IEC 14496-12, 8.7.3); else 1.

    Raises:
        Exception: as `visit` does.

    """
    frames = 1
    for kind, start, end in _within(data, (0, len(data)), (b"moov",), visit):
        if kind == b"trak":
            for inner, at, _ in _within(data, (start, end), (b"mdia", b"minf", b"stbl"), visit):
                if inner in {b"stsz", b"stz2"}:
                    frames = max(frames, int.from_bytes(data[at + 8 : at + 12]))
    return frames


def _within(
    data: View, place: tuple[int, int], path: tuple[bytes, ...], visit: Callable[[], None]
) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes in the first box at a path, as `_boxes`; none if there is no such box."""
    start, end = place
    for container in path:
        found = next((box for box in _boxes(data, start, end, visit) if box[0] == container), None)
        if found is None:
            return
        _, start, end = found
        start += _FULL_BOX if container == b"meta" else 0
    yield from _boxes(data, start, end, visit)


def handlers(data: View) -> frozenset[bytes]:
    """Return the handlers of a film's tracks: `vide`, `soun` and others (ISO/IEC 14496-12, 8.4.3)."""
    found: set[bytes] = set()
    for _, track, track_end in _named(data, b"moov", b"trak", 0, len(data)):
        for _, at, _ in islice(_named(data, b"mdia", b"hdlr", track, track_end), 1):
            found.add(data[at + 8 : at + 12])
    return frozenset(found)


def _named(data: View, outer: bytes, inner: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes of the kind `inner` in the first box of the kind `outer`; of many boxes the first."""
    around = islice(_boxes(data, start, end), _MOST_BOXES)
    for _, first, last in islice((box for box in around if box[0] == outer), 1):
        inside = islice(_boxes(data, first, last), _MOST_BOXES)
        yield from islice((box for box in inside if box[0] == inner), _MOST_TRACKS)


def _boxes(
    data: View, start: int, end: int, visit: Callable[[], None] = lambda: None
) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, first byte and end of the contents of the boxes between two offsets."""
    at = start
    while at + 8 <= end:
        visit()
        size, kind, head = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8], 8
        if size == 1:  # the size follows, in 64 bits
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        elif size == 0:  # up to the end
            size = end - at
        if size < head or at + size > end:
            return
        yield kind, at + head, at + size
        at += size
