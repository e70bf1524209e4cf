"""Recognizes office documents and books, which are ZIP archives, by the names of their entries.

Only the directory at the end of the archive is read, and nothing is decompressed (APPNOTE.TXT 6.3.10, 4.3.12, 4.3.16):

    entry entry … | directory: name name … | end: number of entries, size and offset of the directory
"""

import struct
from collections.abc import Iterator

from protocol.model import View

_ENTRY, _END = b"PK\x01\x02", b"PK\x05\x06"
_ENTRY_BYTES, _END_BYTES = 46, 22
_LONGEST_COMMENT = 0xFFFF
_MOST_ENTRIES = 10_000
_OOXML = "application/vnd.openxmlformats-officedocument"
_MAIN_PARTS = {
    b"word/document": f"{_OOXML}.wordprocessingml.document",
    b"xl/workbook": f"{_OOXML}.spreadsheetml.sheet",
    b"ppt/presentation": f"{_OOXML}.presentationml.presentation",
}
"""The main part of each Office document (ECMA-376, part 1); some programs number it, as in `word/document2.xml`."""
_MIMETYPES = frozenset(
    {
        "application/epub+zip",
        "application/vnd.oasis.opendocument.presentation",
        "application/vnd.oasis.opendocument.spreadsheet",
        "application/vnd.oasis.opendocument.text",
    }
)
_MIMETYPE_AT = 38
"""Where the content of the first entry, `mimetype`, stands: it is not compressed (OpenDocument 1.3, part 2, 3.3)."""

SUFFIXES = {
    **dict(zip(_MAIN_PARTS.values(), ("docx", "xlsx", "pptx"), strict=True)),
    "application/epub+zip": "epub",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.text": "odt",
}
"""The suffix of each type."""


def archive_type(data: View) -> str | None:
    """Return the media type of an office document or a book; None for any other file."""
    if data[:4] != b"PK\x03\x04":
        return None
    if data[30:_MIMETYPE_AT] == b"mimetype":
        size = int.from_bytes(data[22:26], "little")
        said = data[_MIMETYPE_AT : _MIMETYPE_AT + min(size, 256)].decode("ascii", "replace").strip()
        return said if said in _MIMETYPES else None
    names = (name.removesuffix(b".xml").rstrip(b"0123456789") for name in _names(data) if name.endswith(b".xml"))
    return next((_MAIN_PARTS[name] for name in names if name in _MAIN_PARTS), None)


def is_archive(data: View) -> bool:
    """Return whether a file ends as a ZIP archive does; what it begins with does not matter."""
    return _end(data) is not None


def _end(data: View) -> int | None:
    """Return the offset of the end record, behind which only its comment stands."""
    start = max(0, len(data) - _END_BYTES - _LONGEST_COMMENT)
    tail = data[start:]
    at = len(tail)
    while (at := tail.rfind(_END, 0, at)) >= 0:
        if at + _END_BYTES + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail):
            return start + at
    return None


def _names(data: View) -> Iterator[bytes]:
    """Yield the names of the entries, up to a number that no document reaches."""
    end = _end(data)
    count, at = struct.unpack_from("<H4xI", data, end + 10) if end is not None else (0, 0)
    for _ in range(min(count, _MOST_ENTRIES)):
        if data[at : at + 4] != _ENTRY or at + _ENTRY_BYTES > len(data):
            return
        name, extra, comment = struct.unpack_from("<3H", data, at + 28)
        yield data[at + _ENTRY_BYTES : at + _ENTRY_BYTES + name]
        at += _ENTRY_BYTES + name + extra + comment
