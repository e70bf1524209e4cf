r"""Decodes the long base64 strings of a JSON body into files while the body arrives.

An image of 20 MB is a string of 27 MB, and the rest of the body is short. The body is read in blocks. A block that ends
with a long run without a quotation mark may end within such a string. It does if the text before the run opens the
value of a field that holds files:

    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVB…
                                                                                  ^^^^^^^^^ the opening

In valid JSON an unescaped `"url": "` can only be a key and the beginning of its value, so the text before it need not
be parsed. From there to its closing quotation mark, the string is decoded piece by piece into a file. A short
placeholder replaces it in the body: the body's decoder sees a short string, and `LongStrings.found` has the file.
"""

import re

import msgspec

from protocol.http.data_urls import Base64Decoder, is_data_url, parse_data_url
from protocol.http.spool import Spool, Spooled
from protocol.model import StoredFile

_LONG = 256 * 1024
"""A run of this length without a quotation mark may be a file."""
_MOST_OPENING = 4096
_MOST_HEAD = 512
_OPENING = re.compile(
    rb'"(?:url|image_url|file_data|data|input_reference|mask|images?)"\s*:\s*'
    rb'(?:\[\s*(?:"[^"\\]*"\s*,\s*)*)?"\Z'
)
_BARE_START = re.compile(rb"(?:[A-Za-z0-9+/_-]|\\[rntf/]|[ \r\n\t])*+(?:\\u|\Z)")
"""The first characters of base64 without `data:`; a URL has a colon."""
_ESCAPE = re.compile(rb"\\(?:u[0-9A-Fa-f]{0,3})?\Z")
"""An incomplete escape sequence at the end of a piece."""
_CONTROLS = (b"\n", b"\r", b"\t")
"""White space that a JSON string may have in escaped form only."""
_INSIDE = re.compile(rb'(?:[^"\\]|\\.)*+"', re.DOTALL)
"""A string up to its closing quotation mark."""

_unescape = msgspec.json.Decoder(str).decode


class LongString(msgspec.Struct, frozen=True, kw_only=True):
    """A string of base64, decoded."""

    head: str
    """The text before the base64, with the comma: for a data URL, `data:image/png;base64,`."""
    file: StoredFile | None
    """The content; None: it is not valid base64."""


class LongStrings:
    """Collects a JSON body without its long strings (a `Sink` of `protocol.http.body`)."""

    def __init__(self, spool: Spool, most: int) -> None:
        """Keep files in `spool`, each up to `most` bytes."""
        self._spool, self._most = spool, most
        self._body = bytearray()
        self._open: _Decoding | None = None
        self.found: dict[str, LongString] = {}
        """The decoded strings by their placeholders."""
        self._stored = 0

    @property
    def resident(self) -> int:
        """The number of the body's bytes in memory."""
        return len(self._body)

    @property
    def stored(self) -> int:
        """The number of decoded bytes on disk."""
        return self._stored + (self._open.size if self._open is not None else 0)

    def feed(self, block: bytes) -> None:
        """Take the next block of the body; call this in a worker thread.

        Raises:
            Saturated: the disk is full.

        """
        if self._open is not None:
            end = self._open.end(block)
            if end < 0:
                self._open.feed(block)
                return
            self._open.feed(block[:end])
            string = self._open.finish()
            self._open = None
            self._stored += string.file.size if string.file is not None else 0
            placeholder = f"{'data:' if string.head else ''}file-{len(self.found)}"
            self.found[placeholder] = string
            self._body += placeholder.encode()
            block = block[end:]
        self._body += block
        self._open_string()

    def finish(self) -> bytes:
        """Return the body without its long strings."""
        if self._open is not None:  # the body ends within a string: its decoder reports that
            self._open = None
        return bytes(self._body)

    def _open_string(self) -> None:
        """Begin to decode a string if the body ends within a long string of a field that holds files."""
        quote = self._body.rfind(b'"')
        if len(self._body) - quote - 1 < _LONG or quote < 0:
            return
        opening = bytes(self._body[max(0, quote + 1 - _MOST_OPENING) : quote + 1])
        if _OPENING.search(opening) is None:
            return
        start = bytes(self._body[quote + 1 : quote + 1 + _MOST_HEAD])
        size = start.find(b",") + 1
        head = _text(start[:size]) or ""
        url = parse_data_url(head) if is_data_url(head) else None
        if url is None or not url.is_base64:
            if not _BARE_START.match(start):
                return
            head, size = "", 0
        content = bytes(self._body[quote + 1 + size :])
        del self._body[quote + 1 :]
        self._open = _Decoding(head, self._spool.file(self._most))
        self._open.feed(content)


class _Decoding:
    """Decodes one string of base64."""

    def __init__(self, head: str, file: Spooled) -> None:
        self._head, self._file = head, file
        self._decoder = Base64Decoder(in_url=bool(head))
        self._escape = b""
        """An incomplete escape sequence."""
        self._backslash = False
        """Whether the last piece ended with an odd number of backslashes."""
        self._broken = False

    @property
    def size(self) -> int:
        """The number of decoded bytes."""
        return self._file.size

    def end(self, block: bytes) -> int:
        """Return the offset of the closing quotation mark in a block, or -1."""
        at = block.find(b'"')
        if at > 0 and block[at - 1] != ord("\\"):
            return at
        if at >= 0:
            found = _INSIDE.match(block, 1 if self._backslash else 0)
            if found is not None:
                return found.end() - 1
        if not block.endswith(b"\\"):
            self._backslash = False
            return -1
        trailing = len(block) - len(block.rstrip(b"\\"))
        self._backslash = (trailing + (self._backslash if trailing == len(block) else 0)) % 2 == 1
        return -1

    def feed(self, piece: bytes) -> None:
        """Decode the next piece."""
        if self._broken:
            return
        piece = self._escape + piece
        self._escape = b""
        if b"\\" in piece:
            cut = _ESCAPE.search(piece, max(0, len(piece) - 6))
            if cut is not None:
                piece, self._escape = piece[: cut.start()], cut[0]
            text = _text(piece)
            piece = text.encode("utf-8", "replace") if text is not None else b"!"
        elif any(control in piece for control in _CONTROLS):
            piece = b"!"
        try:
            self._file.write(self._decoder.feed(piece))
        except ValueError:
            self._broken = True

    def finish(self) -> LongString:
        """Return the string."""
        try:
            if not self._broken:
                self._file.write(self._decoder.finish())
        except ValueError:
            self._broken = True
        return LongString(head=self._head, file=None if self._broken or self._escape else self._file.finish())


def _text(escaped: bytes) -> str | None:
    """Return the text of a part of a JSON string; None: it is not valid."""
    try:
        return _unescape(b'"' + escaped + b'"')
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
