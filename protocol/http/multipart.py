"""Splits a multipart body into its parts while it arrives (RFC 2046, 5.1.1), and reads the headers of parts.

    preamble CRLF --boundary CRLF headers CRLF CRLF data CRLF --boundary-- CRLF epilogue

A block may end within a delimiter, so as much of its end as may begin one is held back. Clients use all of the
grammar, and the libraries that read forms in pieces do not: there may be a preamble, blanks behind a boundary and
folded header lines, and the empty line behind the headers may belong to the delimiter of an empty part. The end of the
first delimiter line counts for all of them: Python's `email` ends every line with LF.
"""

import binascii
import codecs
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import unquote
from enum import Enum, auto
from urllib.parse import unquote_to_bytes

import msgspec

from protocol.model import BadRequest

_LONGEST_BOUNDARY = 256
"""RFC 2046 allows 70 characters."""
_MOST_PREAMBLE_BYTES = 64 * 1024
_MOST_HEADER_BYTES = 8 * 1024
_MOST_PARTS = 128
_MOST_NEAR_BOUNDARIES = 1000
"""How many lines may begin with the boundary and not be a delimiter."""
_DELIMITER_END = re.compile(rb"(--)|[ \t]{0,256}(\r?\n)")
_CUT_DELIMITER_END = re.compile(rb"-?|[ \t]{0,256}\r?")
_HEADERS_END = re.compile(rb"(?:\A|\n)(\r?\n)")
_FOLD = re.compile(r"\r?\n[ \t]+")
_PARAMETER = re.compile(r';\s*([^\s=;]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
_CHARSET = re.compile(
    r"utf-?8|utf-?(16|32)-?(le|be)?|(us-)?ascii|iso-?8859-\d{1,2}|latin-?\d|(windows-|cp)(125\d|8(50|52|66|74)|9(32|49|50))"
    r"|koi8-[ru]|macintosh|gb(k|2312|18030)|big5|euc-(jp|kr)|shift[-_]jis|iso-2022-jp",
    re.IGNORECASE,
)

_TRANSFER_ENCODINGS = frozenset({"", "7bit", "8bit", "binary", "base64", "quoted-printable"})

Headers = Mapping[str, str]
"""The headers of a part by name in lower case, with their bytes as latin-1."""


class PartEnd:
    """The end of a part."""


class _Reading(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    DATA = auto()
    EPILOGUE = auto()


class _Delimiter(msgspec.Struct, frozen=True):
    """A delimiter in the buffer."""

    end: int
    line_end: bytes | None = None
    """The end of its line; None: no part follows."""


class MultipartSplitter:
    """Splits the blocks of one body."""

    def __init__(self, boundary: bytes) -> None:
        """Split at `boundary`.

        Raises:
            BadRequest: it is empty or too long.

        """
        if not boundary:
            message = "The Content-Type header has no 'boundary' parameter: let the HTTP library write this header."
            raise BadRequest(message)
        if len(boundary) > _LONGEST_BOUNDARY:
            raise BadRequest("The boundary in the Content-Type header is longer than 70 characters.")
        self._boundary, self._delimiter = boundary, b"\n--" + boundary
        self._buffer = bytearray(b"\n")
        """What is not passed on yet; the first delimiter needs no line end before it."""
        self._from = 0
        """Where to look for the next delimiter."""
        self._skipped = 0
        """The length of a line end at the begin of the buffer, which is not data but may belong to a delimiter."""
        self._reading = _Reading.PREAMBLE
        self._preamble, self._parts, self._near = 0, 0, 0
        self._opening = b""

    def feed(self, block: bytes) -> Iterator[Headers | bytearray | PartEnd]:
        """Yield the headers of each part, its data, and its end.

        Raises:
            BadRequest: the body has too many parts, a part has too long headers, or the boundary cannot delimit it.

        """
        self._opening = self._opening or block.lstrip()[:1]
        self._buffer += block
        while self._reading is not _Reading.EPILOGUE:
            if self._reading is _Reading.HEADERS:
                headers = self._read_headers()
                if headers is None:
                    return
                yield headers
                continue
            length, delimiter = self._find_delimiter()
            if self._reading is _Reading.DATA and length > self._skipped:
                yield self._buffer[self._skipped : length]
            if self._reading is _Reading.DATA and delimiter is not None:
                yield PartEnd()
            self._drop(length, delimiter)
            if delimiter is None:
                return
        self._buffer.clear()

    def finish(self) -> None:
        """Check that the body is complete.

        Raises:
            BadRequest: it is not; the message says how it has to end.

        """
        if self._reading is _Reading.EPILOGUE:
            return
        boundary = self._boundary[:70].decode("latin-1")
        if self._reading is not _Reading.PREAMBLE:
            raise BadRequest(f"The request's body ends before the form's last boundary: end it with '--{boundary}--'.")
        advice = "begin each part with it"
        if self._opening == b"{":
            advice = "send JSON with Content-Type: application/json"
        raise BadRequest(f"The request's body has no line '--{boundary}', the boundary of Content-Type: {advice}.")

    def _find_delimiter(self) -> tuple[int, _Delimiter | None]:
        """Return the number of bytes that are before the next delimiter, and the delimiter if it is complete."""
        while (at := self._buffer.find(self._delimiter, self._from)) >= 0:
            behind = at + len(self._delimiter)
            end = _DELIMITER_END.match(self._buffer, behind)
            if end is not None and not (end[2] == b"\n" and self._delimiter.startswith(b"\r")):
                return at, _Delimiter(end.end(), end[2])
            if _CUT_DELIMITER_END.fullmatch(self._buffer, behind):
                return at, None
            self._near += 1
            if self._near > _MOST_NEAR_BOUNDARIES:
                raise BadRequest("Too many lines of the form begin with its boundary: choose another boundary.")
            self._from = at + 1
        return max(len(self._buffer) - len(self._delimiter), 0), None

    def _drop(self, length: int, delimiter: _Delimiter | None) -> None:
        """Drop bytes that were passed on, and the delimiter behind them."""
        if self._reading is _Reading.PREAMBLE:
            self._preamble += length
            if self._preamble > _MOST_PREAMBLE_BYTES:
                raise BadRequest(f"More than {_MOST_PREAMBLE_BYTES} bytes are before the form's first boundary.")
        end = length if delimiter is None else delimiter.end
        del self._buffer[:end]
        self._from, self._skipped = max(self._from - end, 0), max(self._skipped - end, 0)
        if delimiter is None:
            return
        if self._reading is _Reading.PREAMBLE and delimiter.line_end == b"\r\n":
            self._delimiter = b"\r" + self._delimiter
        self._reading = _Reading.EPILOGUE if delimiter.line_end is None else _Reading.HEADERS

    def _read_headers(self) -> Headers | None:
        """Return the headers of a part; None while they are incomplete."""
        end = _HEADERS_END.search(self._buffer, 0, _MOST_HEADER_BYTES)
        if end is None:
            if len(self._buffer) >= _MOST_HEADER_BYTES:
                raise BadRequest(f"The headers of a part of the form are longer than {_MOST_HEADER_BYTES} bytes.")
            return None
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise BadRequest(f"The form has more than {_MOST_PARTS} parts.")
        text, line_end = self._buffer[: end.start(1)].decode("latin-1"), end[1]
        del self._buffer[: end.start(1)]
        self._skipped = len(line_end)
        self._reading = _Reading.DATA
        lines = (line.partition(":") for line in re.split(r"\r?\n", _FOLD.sub(" ", text)))
        return {name.strip().lower(): value.strip() for name, colon, value in lines if colon}


class TransferDecoder:
    """Decodes the data of a part by its Content-Transfer-Encoding (RFC 2045, 6; RFC 7578, 4.7)."""

    def __init__(self, encoding: str) -> None:
        """Decode `base64` or `quoted-printable`; other encodings leave the data as it is.

        Raises:
            BadRequest: the encoding is not known.

        """
        self._encoding = encoding.lower()
        if self._encoding not in _TRANSFER_ENCODINGS:
            raise BadRequest(
                "A part of the form has an unknown Content-Transfer-Encoding: send it without this header."
            )
        self._rest = bytearray()

    def decode(self, data: bytes | bytearray, *, last: bool) -> bytes | bytearray:
        """Return the decoded data, as far as it is complete.

        Raises:
            BadRequest: it is not base64.

        """
        if self._encoding == "base64":
            self._rest += data.translate(None, b" \t\r\n")
            if last:
                self._rest += b"=" * (-len(self._rest) % 4)
            end = len(self._rest) // 4 * 4
        elif self._encoding == "quoted-printable":
            self._rest += data
            cut = self._rest.rfind(b"=", max(len(self._rest) - 2, 0))
            end = len(self._rest) if last or cut < 0 else cut
        else:
            return data
        whole = bytes(self._rest[:end])
        del self._rest[:end]
        if self._encoding == "quoted-printable":
            return binascii.a2b_qp(whole)
        try:
            return binascii.a2b_base64(whole, strict_mode=True)
        except binascii.Error:
            raise BadRequest("A part of the form is not valid base64, as its Content-Transfer-Encoding says.") from None


def parameters(value: str) -> dict[str, str]:
    """Return the parameters of a header such as `form-data; name="a"` by name in lower case.

    Of `filename` and `filename*` (RFC 8187), the second counts. Bytes that are not UTF-8 are read as latin-1.
    """
    plain: dict[str, str] = {}
    extended: dict[str, str] = {}
    for name, text in _PARAMETER.findall(value):
        if name.endswith("*"):
            charset, _, rest = text.strip().strip('"').partition("'")
            encoded = unquote_to_bytes(rest.partition("'")[2])
            extended[name[:-1].lower()] = encoded.decode(codec_of(charset) or "utf-8", "replace")
        else:
            sent = unquote(text.strip())
            with suppress(UnicodeError):
                sent = sent.encode("latin-1").decode()
            plain.setdefault(name.lower(), sent)
    return plain | extended


def codec_of(charset: str) -> str | None:
    """Return the name of the codec for a charset of texts, or None if it is not known."""
    if not _CHARSET.fullmatch(charset):
        return None
    try:
        return codecs.lookup(charset).name
    except LookupError:
        return None
