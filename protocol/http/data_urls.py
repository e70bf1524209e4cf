r"""Reads data URLs as the WHATWG's Fetch standard does, and base64 as the JSON form of Protocol Buffers does.

Base64 may have either alphabet (`+/` or `-_`), padding or none, and blanks and line breaks anywhere. In a data URL its
characters may also be percent-encoded:

    data:image/png;base64,iVBORw0KGgo%3D   data: ;base64,iVBORw0KGgo   DATA:text/csv;charset=utf-8,a%2Cb%0A

Sources: https://fetch.spec.whatwg.org/#data-url-processor, https://protobuf.dev/programming-guides/json/
"""

import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

_SLICE = 512 * 1024
"""The length of a slice: decoding one holds the interpreter's lock for about a millisecond."""
_HEAD = 256
_SPACE = b" \t\r\n\f"
_REMOVED = b"\t\r\n"
"""What the parser of URLs removes."""
_AROUND = "".join(map(chr, range(0x21))) + "\x85\xa0\u200b\u2028\u2029\u3000\ufeff"
"""What the parser of URLs strips, C0 controls and the space, and the blanks that come along with copied text."""
_STANDARD = bytes.maketrans(b"-_", b"+/")
_INCOMPLETE = re.compile(rb"%[0-9A-Fa-f]?\Z")
_LONE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
"""A percent sign that begins no escape, and stands for itself."""
_MOST_LONE = 10_000
_IS_BASE64 = re.compile(r";\x20*base64[ \t\r\n\f]*\Z", re.IGNORECASE)


class DataUrl(NamedTuple):
    """A data URL whose content is not decoded yet."""

    is_base64: bool
    content: str
    """The text behind the comma, without a fragment."""

    def decoded(self) -> bytes:
        """Return the content.

        Raises:
            ValueError: it is not valid base64, or has thousands of percent signs that begin no escape.

        """
        if self.is_base64:
            return decode_base64(self.content, in_url=True)
        decoder = PercentDecoder()
        pieces = [decoder.feed(piece) for piece in _slices(self.content.encode("utf-8", "replace"))]
        return b"".join([*pieces, decoder.finish()])


def is_data_url(text: str) -> bool:
    """Return whether a text is a data URL, with or without white space before it."""
    return text[:_HEAD].lstrip(_AROUND)[:5].lower() == "data:"


def parse_data_url(url: str) -> DataUrl | None:
    """Split a data URL; None: it has no comma."""
    head, comma, content = url.lstrip(_AROUND)[len("data:") :].partition(",")
    if not comma or "#" in head:
        return None
    head = head.translate(dict.fromkeys(_REMOVED))
    return DataUrl(_IS_BASE64.search(head) is not None, content.rstrip(_AROUND).partition("#")[0])


def decode_base64(text: str, *, in_url: bool = False) -> bytes:
    """Decode base64, in slices: decoding holds the interpreter's lock.

    Raises:
        ValueError: the text is not base64.

    """
    decoder = Base64Decoder(in_url=in_url)
    pieces = [decoder.feed(piece) for piece in _slices(text.strip(_AROUND).encode("ascii"))]
    return b"".join([*pieces, decoder.finish()])


def _slices(content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), _SLICE):
        yield content[at : at + _SLICE]


class PercentDecoder:
    """Decodes the percent-encoded text of a URL that arrives in pieces."""

    def __init__(self) -> None:
        """Start to decode."""
        self._cut = b""
        """An incomplete escape at the end of the last piece."""
        self._lone = _MOST_LONE

    def feed(self, piece: bytes) -> bytes:
        """Return the text of the next piece.

        Raises:
            ValueError: there are thousands of percent signs that begin no escape.

        """
        if not self._cut and b"%" not in piece:
            return piece.translate(None, _REMOVED)
        piece = self._cut + piece.translate(None, _REMOVED)
        cut = _INCOMPLETE.search(piece, max(0, len(piece) - 2))
        piece, self._cut = (piece[: cut.start()], cut[0]) if cut is not None else (piece, b"")
        piece, lone = _LONE.subn(b"%25", piece, self._lone)
        self._lone -= lone
        if not self._lone:
            raise ValueError("a percent sign in the URL begins no escape")
        # quoted-printable is the same with `=` for `%`, and has a decoder in C
        return binascii.a2b_qp(piece.replace(b"=", b"=3D").replace(b"%", b"="))

    def finish(self) -> bytes:
        """Return the last characters."""
        return self._cut


class Base64Decoder:
    """Decodes base64 that arrives in pieces."""

    def __init__(self, *, in_url: bool = False) -> None:
        """Start to decode; `in_url`: percent-encoding is decoded, and a fragment ends the content."""
        self._escapes = PercentDecoder() if in_url else None
        self._in_fragment = False
        self._rest = b""
        """The last characters, fewer than four."""
        self._padding = 0

    def feed(self, piece: bytes) -> bytes:
        """Return the bytes of the next piece that are complete.

        Raises:
            ValueError: the content is not base64.

        """
        if self._in_fragment:
            return b""
        if self._escapes is not None:
            piece, fragment, _ = piece.partition(b"#")
            self._in_fragment = bool(fragment)
            piece = self._escapes.feed(piece)
        characters, padding, behind = piece.translate(_STANDARD, _SPACE).partition(b"=")
        if (characters and self._padding) or behind.strip(b"="):
            raise binascii.Error("the padding is not at the end")
        self._padding += len(padding) + len(behind)
        characters = self._rest + characters
        whole = len(characters) - len(characters) % 4
        self._rest = characters[whole:]
        return binascii.a2b_base64(characters[:whole], strict_mode=True)

    def finish(self) -> bytes:
        """Return the last bytes.

        Raises:
            ValueError: the content is cut, or has too much padding.

        """
        missing = -len(self._rest) % 4
        cut = self._escapes is not None and self._escapes.finish()
        if missing == 3 or self._padding > missing or cut:
            raise binascii.Error("the base64 is cut, or has too much padding")
        return binascii.a2b_base64(self._rest + b"=" * missing, strict_mode=True)
