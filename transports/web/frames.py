"""Cuts the site's answer into frames; no I/O.

`)]}'`, a blank line, then frames: a decimal length, newline, JSON, newline. The length counts UTF-16 code
units from the newline after the digits to the newline after the JSON, both included. Source: "Response".

Where a length is wrong and the lines are whole, the rest is read by line, as most clients of the site do: a frame is
then each line that is no length. The last newline may be missing.

Every byte is looked at a bounded number of times, whatever the chunks are: text that waits for the rest of
its frame is kept in pieces and joined once.
"""

import codecs
from collections.abc import Iterator

import msgspec

from protocol.model import DriftDetected
from transports.web import wire

_MAX_DIGITS = 10
_MAX_HEAD = 32


_LEADS = [bytes([byte]) for byte in range(0xF0, 0xF5)]
"""The bytes with which UTF-8 begins a character that is two units of UTF-16."""


def _pairs(data: bytes) -> int:
    """Count the characters of two UTF-16 code units that begin in some UTF-8."""
    return sum(data.count(lead) for lead in _LEADS if lead in data)


def utf16_length(text: str) -> int:
    """Count the UTF-16 code units of a text."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _cut_at(text: str, units: int) -> int:
    """Return the index in `text` after `units` UTF-16 code units; one inside a character counts as behind it."""
    if text.isascii():
        return units
    head = text.encode("utf-16-le", "surrogatepass")[: 2 * units].decode("utf-16-le", "surrogatepass")
    return len(head)


class FrameParser:
    """Takes bytes as they come, gives the JSON text of each whole frame."""

    def __init__(self, max_frame: int) -> None:
        """Refuse frames of more than `max_frame` UTF-16 code units."""
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._max_frame = max_frame
        self._prefix_seen = False
        self._head = ""
        self._pieces: list[str] = []
        self._missing = 0
        self._by_line = False
        self._held = 0
        """How many characters of a line are in `pieces`."""

    def feed(self, data: bytes) -> Iterator[str]:
        """Take the next bytes; yield the frames they complete.

        Raises:
            DriftDetected: the bytes are not UTF-8, or not frames as we know them.

        """
        begun = _pairs(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(data)
        except UnicodeDecodeError as error:
            whole = error.object[: error.start]  # what is whole before it, still counts
            self._pairs = _pairs(whole)
            yield from self._read(whole.decode())
            raise DriftDetected("The upstream's answer is not UTF-8.") from None
        self._pairs = begun + _pairs(data) - _pairs(self._decoder.getstate()[0])
        yield from self._read(text)

    def _read(self, text: str) -> Iterator[str]:
        """Take the next text; yield the frames it completes."""
        position, by_line = 0, self._by_line
        while position < len(text) and not self._by_line:
            if not self._missing:
                position = self._header(text, position)
                continue
            position = self._body(text, position)
            if not self._missing:
                frame = self._whole()
                if frame is not None:
                    yield frame
        if self._by_line:
            begun = ""
            if not by_line:
                begun = "".join(self._pieces)
                self._pieces.clear()
            yield from self._lines(begun + text[position:])

    def end(self) -> Iterator[str]:
        """Take the end of the bytes; yield the last frame where only its newline is missing, or its length is wrong."""
        if self._missing:
            self._missing, self._by_line = 0, True
        text = "".join(self._pieces)
        if not self._by_line or not text:
            return
        self._pieces.clear()
        *whole, last = text.removeprefix("\n").split("\n")
        for line in whole:
            yield from self._line(line)
        if _is_json(last):
            yield from self._line(last)
        else:
            self._pieces.append(last)

    @property
    def inside(self) -> bool:
        """Whether the bytes so far end within a frame."""
        return bool(self._missing or any(self._pieces) or self._head.strip() or self._decoder.getstate()[0])

    def _body(self, text: str, position: int) -> int:
        """Take what belongs to the frame; return where that ends. Nothing is missing when the frame is whole."""
        piece = text[position : position + self._missing]
        pairs = self._pairs if position + len(piece) == len(text) else self._pairs and utf16_length(piece) - len(piece)
        self._pairs -= pairs
        units = len(piece) + pairs
        if units > self._missing:
            piece = piece[: _cut_at(piece, self._missing)]
            units = self._missing
            self._pairs += pairs - (units - len(piece))
        self._pieces.append(piece)
        self._missing -= units
        return position + len(piece)

    def _whole(self) -> str | None:
        """Return the frame that is as long as it says; None: it is not, and all is read by line from here on."""
        frame = "".join(self._pieces)
        self._pieces.clear()
        fits = frame.startswith("\n") and frame.endswith("\n") and len(frame) > 1
        if fits and ("\n" not in frame[1:-1] or _is_json(frame)):
            return frame
        self._by_line = True
        self._pieces.append(frame)
        return None

    def _lines(self, text: str) -> Iterator[str]:
        """Read by line; yield the frames."""
        *whole, last = text.split("\n")
        if whole:
            whole[0] = "".join(self._pieces) + whole[0]
            self._pieces.clear()
            self._held = 0
        for line in whole:
            yield from self._line(line)
        self._pieces.append(last)
        self._held += len(last)
        if self._held > self._max_frame:
            raise DriftDetected("The upstream's frame is longer than this gateway accepts.")

    def _line(self, line: str) -> Iterator[str]:
        line = line.strip()
        if line.startswith("["):
            yield f"\n{line}\n"
        elif line and line != wire.FRAMES_PREFIX and not line.isdecimal():
            raise DriftDetected("The upstream's answer is not in frames.")

    def _header(self, text: str, position: int) -> int:
        """Read the prefix or a length; return where the frame begins: at the newline after the digits."""
        newline = text.find("\n", position)
        taken = text[position : position + _MAX_HEAD if newline < 0 else newline]
        self._head += taken
        if self._head.lstrip().startswith("["):
            self._by_line = True
            self._pieces.append(self._head)
            self._head = ""
            return position + len(taken)
        if len(self._head) >= _MAX_HEAD:
            raise DriftDetected("The upstream's answer is not in frames.")
        if newline < 0:
            return len(text)
        head, self._head = self._head.strip(), ""
        if not head:
            return newline + 1
        if not self._prefix_seen and head == wire.FRAMES_PREFIX:
            self._prefix_seen = True
            return newline + 1
        self._missing = self._length(head)
        return newline

    def _length(self, head: str) -> int:
        if not (head.isascii() and head.isdigit() and len(head) <= _MAX_DIGITS):
            raise DriftDetected("The upstream's answer is not in frames.")
        length = int(head)
        if not 0 < length <= self._max_frame:
            raise DriftDetected("The upstream's frame is longer than this gateway accepts.")
        return length


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return False
    return True
