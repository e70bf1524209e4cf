"""Cuts the site's answer into frames; no I/O.

`)]}'`, a blank line, then frames: a decimal length, newline, JSON, newline. The length counts UTF-16 code
units from the newline after the digits to the newline after the JSON, both included. Source: "Response".

Every byte is looked at a bounded number of times, whatever the chunks are: text that waits for the rest of
its frame is kept in pieces and joined once.
"""

import codecs
from collections.abc import Iterator

from protocol.model import DriftDetected
from transports.web import wire

_MAX_DIGITS = 10
_MAX_HEAD = 32


def utf16_length(text: str) -> int:
    """Count the UTF-16 code units of a text."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _cut_at(text: str, units: int) -> int:
    """Return the index in `text` after `units` UTF-16 code units."""
    if text.isascii():
        return units
    head = text.encode("utf-16-le", "surrogatepass")[: 2 * units]
    try:
        return len(head.decode("utf-16-le"))
    except UnicodeDecodeError:
        raise DriftDetected("The upstream's frame ends inside a character.") from None


class FrameParser:
    """Takes bytes as they come, gives the JSON text of each whole frame."""

    def __init__(self, max_frame: int) -> None:
        """Refuse frames of more than `max_frame` UTF-16 code units."""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._max_frame = max_frame
        self._prefix_seen = False
        self._head = ""
        self._pieces: list[str] = []
        self._missing = 0

    def feed(self, data: bytes) -> Iterator[str]:
        """Take the next bytes; yield the frames they complete.

        Raises:
            DriftDetected: the bytes are not UTF-8, or not frames as we know them.

        """
        try:
            text = self._decoder.decode(data)
        except UnicodeDecodeError:
            raise DriftDetected("The upstream's answer is not UTF-8.") from None
        position = 0
        while position < len(text):
            if not self._missing:
                position = self._header(text, position)
                continue
            position = self._body(text, position)
            if not self._missing:
                yield self._whole()

    @property
    def inside(self) -> bool:
        """Whether the bytes so far end within a frame."""
        return bool(self._missing or self._head.strip() or self._decoder.getstate()[0])

    def _body(self, text: str, position: int) -> int:
        """Take what belongs to the frame; return where that ends. Nothing is missing when the frame is whole."""
        piece = text[position : position + self._missing]
        units = utf16_length(piece)
        if units > self._missing:
            piece = piece[: _cut_at(piece, self._missing)]
            units = self._missing
        self._pieces.append(piece)
        self._missing -= units
        return position + len(piece)

    def _whole(self) -> str:
        frame = "".join(self._pieces)
        self._pieces.clear()
        if not (frame.startswith("\n") and frame.endswith("\n") and len(frame) > 1):
            raise DriftDetected("The upstream's frame is not as long as it says.")
        return frame

    def _header(self, text: str, position: int) -> int:
        """Read the prefix or a length; return where the frame begins: at the newline after the digits."""
        newline = text.find("\n", position)
        self._head += text[position : position + _MAX_HEAD if newline < 0 else newline]
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
        if not (head.isascii() and head.isdigit() and len(head) <= _MAX_DIGITS and self._prefix_seen):
            raise DriftDetected("The upstream's answer is not in frames.")
        length = int(head)
        if not 0 < length <= self._max_frame:
            raise DriftDetected("The upstream's frame is longer than this gateway accepts.")
        return length
