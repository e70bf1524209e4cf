"""Find a video inside a protobuf envelope, by the structure of the message; no I/O. Source: "Field notes"."""

import msgspec

from protocol.model import is_iso_media

_DEEPEST = 4
_MOST_FIELDS = 64


class EnvelopeContent(msgspec.Struct, frozen=True):
    """The position of a video inside its envelope."""

    start: int
    length: int


def find_film(head: bytes, total: int | None) -> EnvelopeContent | None:
    """Find a video inside a protobuf message that starts with `head` and is `total` bytes long, if that is known.

    Walks the fields of the message; the video is the first field whose content starts like an ISO media file. Returns
    None if `head` is not such a message, or no video starts in it.
    """
    return _walk(head, 0, total if total is not None else 1 << 62, 0)


def _walk(head: bytes, position: int, end: int, depth: int) -> EnvelopeContent | None:
    for _ in range(_MOST_FIELDS):
        start, position, nested = _field(head, position, end)
        if nested and is_iso_media(head, start):
            return EnvelopeContent(start, position - start)
        found = _walk(head, start, position, depth + 1) if nested and depth < _DEEPEST else None
        if found is not None or not 0 <= position < min(end, len(head)):
            return found
    return None


def _field(head: bytes, position: int, end: int) -> tuple[int, int, bool]:
    """Return the start and end of a field's content, and whether it may contain fields; -1 if the field is invalid."""
    tag, start = _varint(head, position, end)
    if start < 0 or not tag >> 3:
        return start, -1, False
    match tag & 7:
        case 0:
            return start, _varint(head, start, end)[1], False
        case 2:
            length, start = _varint(head, start, end)
            inside = start >= 0 and length <= end - start
            return start, start + length if inside else -1, inside
        case fixed:
            size = {1: 8, 5: 4}.get(fixed)
            return start, start + size if size else -1, False


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Return a number and its end offset; -1 if the number is incomplete."""
    value = 0
    for shift in range(0, 64, 7):
        if not 0 <= position < min(end, len(data)):
            return 0, -1
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return 0, -1
