"""Parses the `Range` header (RFC 9110, section 14); no I/O."""

import re

import msgspec

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class ByteRange(msgspec.Struct, frozen=True):
    """Bytes from `start` up to, and without, `end`."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """The range lies outside the content."""


def span_of(header: str, length: int | None) -> ByteRange | None:
    """Return the span that a Range header asks of a content of `length` bytes; None: all of it.

    Several ranges, other units, nonsense and a content of unknown length are answered with all of it, as allowed.

    Raises:
        Unsatisfiable: no byte of the content lies within the range.

    """
    found = _RANGE.fullmatch(header.strip().replace(" ", ""))
    if found is None or length is None or found[0] == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, length - int(last)), length
    else:
        start, end = int(first), min(length, int(last) + 1 if last else length)
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise Unsatisfiable
    return ByteRange(start, end)
