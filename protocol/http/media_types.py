"""Detects a file's media type by its bytes, without decoding it."""

import codecs
import re

from protocol.model import View, media_type_of

_HEAD = 1024
_SLICE = 1024 * 1024
_ZIP_TAIL = 22 + 0xFFFF

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
