"""Detects a file's media type by its first bytes, and an image's size by its header, without decoding it."""

import codecs
import re
from collections.abc import Iterator
from itertools import islice

from protocol.model import View, media_type_of

_HEAD = 1024
_SLICE = 1024 * 1024
_ZIP_TAIL = 22 + 0xFFFF
_MOST_SEGMENTS = 4096

_PASSED_ON = frozenset(
    {
        "application/pdf",
        "audio/flac",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/wav",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "video/mp4",
        "video/quicktime",
        "video/webm",
    }
)

_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")
_MARKUP = re.compile(
    rb"(?>\s+|<\?xml[^>]*>|<!--.*?-->)*+<(?:!doctype\s+(?:html|svg)|(?:html|head|body|script|svg)\b)",
    re.IGNORECASE | re.DOTALL,
)


def sniff(data: View) -> str | None:
    """Return a file's media type, or None if it is not supported.

    Supported are images (PNG, JPEG, WebP, GIF), PDF, video (MP4, MOV, WebM), audio (MP3, WAV, OGG, FLAC, M4A) and UTF-8
    text, but never SVG or HTML, nor an image that is a document or an archive as well (a polyglot file).
    """
    mime = media_type_of(data)
    if mime is None:
        return "text/plain" if _is_text(data) else None
    if mime not in _PASSED_ON or (mime.startswith("image/") and _is_polyglot(data)):
        return None
    return mime


def _is_polyglot(data: View) -> bool:
    """Return whether an image is also a PDF, whose header may come late, or a ZIP, whose index is at the end."""
    if b"%PDF-" in data[:_HEAD]:
        return True
    tail = data[-_ZIP_TAIL:]
    at = tail.rfind(b"PK\x05\x06")
    return at >= 0 and at + 22 + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail)


def _is_text(data: View) -> bool:
    if not len(data) or _MARKUP.match(data[: _HEAD + 3].removeprefix(codecs.BOM_UTF8)[:_HEAD]):
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _SLICE):
            text = decoder.decode(data[start : start + _SLICE], final=start + _SLICE >= len(data))
            if _CONTROL.search(text):
                return False
    except UnicodeDecodeError:
        return False
    return True


def picture_size(data: View) -> tuple[int, int] | None:
    """Return a picture's width and height, as its header says; None if it is broken or not a picture."""
    size: tuple[int, int] | None = None
    match sniff(data[:_HEAD]):
        case "image/png" if len(data) >= 24 and data[12:16] == b"IHDR":
            size = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
        case "image/gif" if len(data) >= 10:
            size = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
        case "image/jpeg":
            size = _jpeg_size(data)
        case "image/webp":
            size = _webp_size(data)
        case _:
            pass
    return size if size is not None and min(size) > 0 else None


def _jpeg_size(data: View) -> tuple[int, int] | None:
    """Return the size in the frame header, which follows other segments."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if len(data) < at + 9 or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        length = int.from_bytes(data[at + 2 : at + 4])
        if length < 2 or marker in {0xD9, 0xDA}:
            return None
        at += 2 + length
    return None


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


def has_frames(data: View, most: int) -> bool:
    """Return whether an animation has more than `most` frames; reads no further than that."""
    if data[:4] == b"\x89PNG":
        said = next((data[at + 8 : at + 12] for kind, at in _png_chunks(data) if kind == b"acTL"), b"")
        return int.from_bytes(said) > most
    frames = _gif_frames(data) if data[:4] == b"GIF8" else _webp_frames(data)
    return next(islice(frames, most, None), None) is not None


def _gif_frames(data: View) -> Iterator[int]:
    """Yield the offset of each frame."""
    at = 13 + _palette(data, 10)
    while at < len(data):
        block = data[at]
        if block == 0x2C:
            yield at
            at = _after_blocks(data, at + 11 + _palette(data, at + 9))
        elif block == 0x21:
            at = _after_blocks(data, at + 2)
        else:
            return


def _palette(data: View, at: int) -> int:
    flags = data[at] if at < len(data) else 0
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: View, at: int) -> int:
    size = len(data)
    while at < size and (length := data[at]):
        at += length + 1
    return at + 1


def _png_chunks(data: View) -> Iterator[tuple[bytes, int]]:
    """Yield type and offset of the chunks before the pixels."""
    at = 8
    for _ in range(_MOST_SEGMENTS):
        kind = data[at + 4 : at + 8]
        if len(kind) < 4 or kind == b"IDAT":
            return
        yield kind, at
        at += 12 + int.from_bytes(data[at : at + 4])


def _webp_frames(data: View) -> Iterator[int]:
    """Yield the offset of each frame."""
    at = 12 if data[:4] == b"RIFF" else len(data)
    while len(kind := data[at : at + 4]) == 4:
        if kind == b"ANMF":
            yield at
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + (length & 1)
