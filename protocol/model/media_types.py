"""Recognize a media file by its first bytes: the one table of magic numbers; no I/O.

The table is our own on purpose. puremagic names no type for an M4A file and calls every Matroska file WebM; filetype
has had no release since 2022 and names types that clients do not use (`audio/x-wav`). Both list hundreds of formats
that must not be passed on. Whether a file may be passed on at all is decided by `protocol.http.media_types`.
"""

from protocol.model.stored import View

_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_AVIF = dict.fromkeys((b"avif", b"avis"), "image/avif")
_HEIC = dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "image/heic")
_HEIF = frozenset({b"mif1", b"msf1"})
"""Brands of HEIF, whose other brands say how its pictures are coded."""
_BRANDS = {b"M4A ": "audio/mp4", b"M4B ": "audio/mp4", b"qt  ": "video/quicktime", **_AVIF, **_HEIC}
"""Brands of ISO media files; any other brand is an MP4 video."""
_QUICKTIME = frozenset({b"moov", b"mdat", b"wide"})
_BOX = (8, 4096)
"""Shortest and longest accepted length of the first box of an ISO media file."""
_BRANDS_END = 256
_EBML_HEAD = 64


def media_type_of(head: View) -> str | None:
    """Return the media type of a file that starts with `head`; None if it is not a known media file."""
    found = next((mime for start, mime in _STARTS if head[: len(start)] == start), None)
    if found is not None:
        return found
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "video/webm" if b"webm" in head[:_EBML_HEAD] else "video/x-matroska"
    if is_iso_media(head):
        return _iso_media_type(head)
    if head[4:8] in _QUICKTIME:
        return "video/quicktime"
    return "audio/mpeg" if _is_mpeg_audio(head) else None


def is_iso_media(data: View, at: int = 0) -> bool:
    """Return whether an ISO media file (MP4, M4A, HEIC, …) starts at offset `at`."""
    return data[at + 4 : at + 8] == b"ftyp" and _BOX[0] <= int.from_bytes(data[at : at + 4]) <= _BOX[1]


def _iso_media_type(head: View) -> str:
    brand = head[8:12]
    if brand not in _HEIF:
        return _BRANDS.get(brand, "video/mp4")
    others = head[16 : min(int.from_bytes(head[:4]), _BRANDS_END)]
    coded = (_BRANDS.get(others[at : at + 4]) for at in range(0, len(others), 4))
    return next((mime for mime in coded if mime is not None and mime.startswith("image/")), "image/heif")


def _is_mpeg_audio(head: View) -> bool:
    """Return whether a frame of MPEG audio starts here: sync bits, a version, a layer, and possible rates.

    Files of the first layer are long gone, and text in UTF-16 begins as they did, with FF FE.
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer, rate, frequency = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer in {1, 2} and rate != 15 and frequency != 3
