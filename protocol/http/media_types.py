"""Detects a file's media type by its bytes, and names the formats that are not supported."""

from protocol.http.archive_types import SUFFIXES as ARCHIVE_SUFFIXES
from protocol.http.archive_types import archive_type, is_archive
from protocol.http.iso_media import handlers
from protocol.http.text_encoding import text_encoding, unread_encoding
from protocol.model import View, media_type_of

_HEAD = 1024

SUFFIXES = {
    **ARCHIVE_SUFFIXES,
    "application/pdf": "pdf",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "image/avif": "avif",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/heif": "heif",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "text/plain": "txt",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
}
"""The supported types, and the suffix of each."""

_WEBM_HEAD = 64 * 1024
_WEBM_VIDEO, _WEBM_SOUND = (b"V_VP8", b"V_VP9", b"V_AV1"), (b"A_OPUS", b"A_VORBIS")
"""Names of codecs (https://www.matroska.org/technical/codec_specs.html)."""

_NAMES = (
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
    (b"\x00\x00\x01\xba", "an MPEG video"),
    (b"\x00\x00\x01\xb3", "an MPEG video"),
    (b"\x1a\x45\xdf\xa3", "a Matroska video"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (b"\x7fELF", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office file in the old format of .doc and .xls, or an encrypted one"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\xff\xf1", "AAC audio"),
    (b"\xff\xf9", "AAC audio"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"#!AMR", "AMR audio"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"BM", "a BMP image"),
    (b"BZh", "a bzip2 archive"),
    (b"FLV", "a Flash video"),
    (b"FORM", "AIFF audio"),
    (b"II*\x00", "a TIFF image"),
    (b"II+\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"MM\x00+", "a TIFF image"),
    (b"MThd", "MIDI"),
    (b"MZ", "a program"),
    (b"PK", "a ZIP archive"),
    (b"Rar!", "a RAR archive"),
    (b"RIFF", "an AVI video"),
    (b"SQLite format 3", "an SQLite database"),
    (b"caff", "Core Audio"),
)
"""Unsupported formats by their first bytes."""


def sniff(data: View) -> str | None:
    """Return a file's media type, a key of `SUFFIXES`; None if it is not supported.

    Text comes first: words may begin as a film does, and a film holds bytes that no text has. An image that is a
    document or an archive as well is not supported. Text other than UTF-8 has the parameter `charset`.
    """
    mime = media_type_of(data)
    if mime == "application/pdf":
        return mime
    encoding = text_encoding(data) if len(data) else None
    if encoding is not None:
        return "text/plain" if encoding == "utf-8" else f"text/plain; charset={encoding}"
    if mime is None:
        return archive_type(data)
    if _is_sound_alone(data, mime):
        return mime.replace("video/", "audio/")
    is_image = mime.startswith("image/")
    if mime not in SUFFIXES or (is_image and (b"%PDF-" in data[:_HEAD] or is_archive(data))):
        return None
    return mime


def _is_sound_alone(data: View, mime: str) -> bool:
    """Return whether a film has sound and no picture: browsers record sound so."""
    if mime == "video/mp4":
        found = handlers(data)
        return b"soun" in found and b"vide" not in found
    head = data[:_WEBM_HEAD] if mime == "video/webm" else b""
    return any(codec in head for codec in _WEBM_SOUND) and not any(codec in head for codec in _WEBM_VIDEO)


def described(data: View) -> str:
    """Return in words what a file is, such as `a TIFF image`."""
    mime = (sniff(data) or "").partition(";")[0]
    if mime == "text/plain":
        return "an SVG drawing" if b"<svg" in data[:_HEAD].lower() else "text"
    if mime:
        return f"{_FAMILIES.get(mime.partition('/')[0], 'a document')} ({SUFFIXES[mime].upper()})"
    if media_type_of(data) in SUFFIXES:
        return "an image and another document in one file"
    name = next((name for start, name in _NAMES if data[: len(start)] == start), None)
    if name is None and data[:1] == data[188:189] == b"\x47":
        return "an MPEG transport stream"
    encoding = unread_encoding(data) if name is None else None
    return name or (f"text in {encoding}: convert it to UTF-8, or" if encoding else "of an unknown format")


_FAMILIES = {"audio": "a sound file", "image": "an image", "video": "a video"}
