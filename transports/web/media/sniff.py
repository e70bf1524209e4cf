"""Detect the media type of bytes, and find a video inside a protobuf envelope; no I/O. Source: "Field notes"."""

import msgspec

_DEEPEST = 4
_MOST_FIELDS = 64
_BOX = (8, 4096)
"""Shortest and longest accepted length of the first box of an ISO media file."""


def mime_of(head: bytes) -> str | None:
    """Return the media type of a file that starts with `head`; None if it is not a known image, video or audio file."""
    for magic, mime in (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
        (b"ID3", "audio/mpeg"),
        (b"OggS", "audio/ogg"),
        (b"fLaC", "audio/flac"),
    ):
        if head.startswith(magic):
            return mime
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12])
    if is_film(head, 0):
        brand = head[8:12]
        if brand.startswith((b"avif", b"heic", b"mif1")):
            return "image/avif" if brand == b"avif" else "image/heic"
        return "audio/mp4" if brand.startswith(b"M4A") else "video/mp4"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 in {0xE2, 0xE4, 0xE6}:
        return "audio/mpeg"
    return None


def is_film(head: bytes, at: int) -> bool:
    """Return whether an ISO media file (MP4, HEIC, …) starts at offset `at`."""
    return head[at + 4 : at + 8] == b"ftyp" and _BOX[0] <= int.from_bytes(head[at : at + 4]) <= _BOX[1]


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
        if nested and is_film(head, start):
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
