"""Recognizes text in any encoding that says what it is, and transcodes it to UTF-8.

Text is UTF-8, or begins with a byte order mark of UTF-16 or UTF-32. It holds no control characters apart from those
that terminals and editors write: tabs, line and form feeds, bells, backspaces, escapes and an end of file. Declared
types and names do not matter: source code, tables and markup are text.
"""

import codecs
import re
from collections.abc import Iterator

from protocol.model import View

_SLICE = 1024 * 1024
_HEAD = 1024
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile("[\x00-\x06\x0e-\x19\x1c-\x1f]")
_BINARY = re.compile(rb"[\x00-\x06\x0e-\x19\x1c-\x1f]")
_UNMARKED_UTF16 = re.compile(rb"(?:[\x09\x0a\x0d\x20-\x7e]\0){4}|(?:\0[\x09\x0a\x0d\x20-\x7e]){4}")


def text_encoding(data: View) -> str | None:
    """Return the encoding of a text, as `codecs` names it; None if the data is not text that can be read."""
    encoding = next((name for mark, name in _MARKS if data[: len(mark)] == mark), "utf-8")
    try:
        for text in _decoded(data, encoding):
            if _CONTROL.search(text):
                return None
    except UnicodeDecodeError:
        return None
    return encoding


def as_utf8(data: View, encoding: str) -> Iterator[bytes]:
    """Yield the text in UTF-8, in pieces and without the byte order mark."""
    for text in _decoded(data, encoding):
        yield text.encode()


def _decoded(data: View, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    for start in range(0, len(data), _SLICE):
        yield decoder.decode(data[start : start + _SLICE], final=start + _SLICE >= len(data))


def unread_encoding(data: View) -> str | None:
    """Return in words which encoding text probably has that `text_encoding` cannot read; None: it is not text."""
    head = data[:_HEAD]
    if head[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return "UTF-16 that is not valid"
    if _UNMARKED_UTF16.match(head):
        return "UTF-16 without a byte order mark"
    if not head or _BINARY.search(head):
        return None
    return "an encoding other than UTF-8, such as Windows-1252, GBK or Shift_JIS"
