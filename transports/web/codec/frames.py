r"""Cuts the site's answer into frames; no I/O.

`)]}'`, a blank line, then frames: a decimal length, newline, JSON, newline. The length counts UTF-16 code
units from the newline after the digits to the newline after the JSON, both included. Source: "Response".

Where a length is wrong and the lines are whole, the rest is read by line, as most clients of the site do: a frame is
then each line that is no length. The last newline may be missing.

The frames of an answer are cumulative, so the parser works on bytes and compares each frame with the beginning that
earlier frames had in common (`Shared`): what is the same is neither copied, counted nor decoded. A frame is the number
of its bytes that are shared, and the bytes behind them. With `\n["abc` shared, the second of these two frames

    \n["abcd"]\n
    \n["abcde"]\n

is `Frame(shared, 7, b'de"]\n')`. The length is checked when a newline comes, which stands at a frame's end and hardly
anywhere else. Every other byte is looked at a bounded number of times, whatever the chunks are.
"""

from collections.abc import Iterator

import msgspec

from protocol.model import DriftDetected
from transports.web import wire

_MAX_DIGITS = 10
_MAX_HEAD = 32
_MOST_BYTES = 3
"""Bytes of UTF-8 for one code unit of UTF-16, at most."""

_PREFIX = wire.FRAMES_PREFIX.encode()
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOT_FRAMES = "The upstream's answer is not in frames."
_TOO_LONG = "The upstream's frame is longer than this gateway accepts."
_CONTINUING = bytes(range(0x80, 0xC0))
"""The bytes with which no character of UTF-8 begins."""
_PAIRS = [bytes([byte]) for byte in range(0xF0, 0xF5)]
"""The bytes with which UTF-8 begins a character of two UTF-16 code units."""


def utf16_units(data: bytes) -> int:
    """Count the UTF-16 code units of characters that begin in some UTF-8, wherever that is cut."""
    if data.isascii():
        return len(data)
    begun = len(data.translate(None, _CONTINUING))
    return begun + sum(data.count(lead) for lead in _PAIRS if lead in data)


class Shared:
    """The beginning that the frames of an answer have in common. It only grows; another one is another object."""

    __slots__ = ("data", "units")

    def __init__(self, data: bytes = b"") -> None:
        """Begin with the bytes of a frame up to some place in it."""
        self.data = bytearray(data)
        self.units = utf16_units(data)

    def extend(self, data: bytes) -> None:
        """Add the next bytes of a frame that begins with all of these."""
        self.data += data
        self.units += utf16_units(data)


class Frame:
    """One frame: the first `size` bytes of `shared`, and the rest."""

    __slots__ = ("rest", "shared", "size")

    def __init__(self, shared: Shared, size: int, rest: bytes) -> None:
        """Hold what a frame consists of."""
        self.shared, self.size, self.rest = shared, size, rest

    def whole(self) -> bytes:
        """Return the frame's JSON, between two newlines."""
        return bytes(self.shared.data[: self.size]) + self.rest if self.size else self.rest

    def behind(self, shared: Shared) -> bytes | None:
        """Return what comes behind a beginning; None: the frame begins otherwise."""
        if shared is self.shared and self.size == len(shared.data):
            return self.rest
        if self.size and shared is self.shared:
            rest, more = self.rest, shared.data[self.size :]
        else:
            rest, more = self.whole(), shared.data
        return rest[len(more) :] if rest.startswith(more) else None


class FrameParser:
    """Takes bytes as they come, gives each whole frame.

    `feed` gives the frames' JSON. A reader of cumulative frames calls `push`, then `find` until it returns None, and
    sets or extends `shared` between two calls.
    """

    def __init__(self, max_frame: int) -> None:
        """Refuse frames of more than `max_frame` UTF-16 code units."""
        self.shared = Shared()
        """The beginning that the next frame is compared with."""
        self.broken = ""
        """Why no frames can be read any more; empty while they can."""
        self._max_frame = max_frame
        self._data: bytes = b""
        self._at: int = 0
        """The bytes that are being read, and up to where they were."""
        self._started = self._prefix_seen = self._by_line = False
        self._head: bytes = b""
        """The beginning of a line that should be a length."""
        self._length = 0
        """Of the frame that is being read; 0: a length comes next."""
        self._base, self._size, self._agreed = self.shared, 0, 0
        """The frame agrees with `agreed` bytes of `base`, whose first `size` bytes it may share."""
        self._pieces: list[bytes] = []
        """The bytes behind what is shared, or of a line."""
        self._taken = self._units = 0
        """How many bytes of the frame or line are there, and how many code units those are if it shares all `size`."""
        self._several_lines = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes; yield the JSON of the frames they complete.

        Raises:
            DriftDetected: the bytes are not frames as we know them.

        """
        self.push(data)
        while (frame := self.find()) is not None:
            yield frame.whole()
        self.check()

    def push(self, data: bytes) -> None:
        """Take the next bytes, once `find` has read the last ones."""
        self._data, self._at = data, 0

    def check(self) -> None:
        """Raise what the bytes so far stand for if they are not frames.

        Raises:
            DriftDetected: they are not.

        """
        if self.broken:
            raise DriftDetected(self.broken)

    def find(self) -> Frame | None:
        """Return the next whole frame; None: there is none in the bytes so far, or they are `broken`."""
        while self._at < len(self._data) and not self.broken:
            if self._by_line:
                frame = self._next_line()
            elif self._length:
                frame = self._body()
            else:
                frame = self._at_once() or self._header()
            if frame is not None:
                return frame
        self._data, self._at = b"", 0
        return None

    def end(self) -> Iterator[bytes]:
        """Take the end of the bytes; yield the JSON of the last frames as `last` does.

        Raises:
            DriftDetected: the bytes are not frames as we know them.

        """
        for frame in self.last():
            yield frame.whole()

    def last(self) -> Iterator[Frame]:
        """Take the end of the bytes; yield the last frames where only a newline is missing, or a length is wrong.

        Raises:
            DriftDetected: the bytes are not frames as we know them.

        """
        if self._length:
            self._read_by_line(self._held())
            while (frame := self.find()) is not None:
                yield frame
            self.check()
        line = b"".join(self._pieces)
        if self._by_line and _is_json(line):
            self._pieces.clear()
            frame = self._line(line)
            if frame is not None:
                yield frame
            self.check()

    @property
    def inside(self) -> bool:
        """Whether the bytes so far end within a frame."""
        return bool(self._length or any(self._pieces) or self._head.strip())

    def _at_once(self) -> Frame | None:
        """Return the next frame if it is here from length to end, on one line, and shares all; else take nothing."""
        data, at, shared = self._data, self._at, self.shared
        start = data.find(b"\n", at)
        rest = start + len(shared.data)
        end = data.find(b"\n", start + 1) + 1
        digits = data[at:start]
        if self._head or start < 0 or end <= rest or not digits.isdigit() or len(digits) > _MAX_DIGITS:
            return None
        length, behind = int(digits), data[rest:end]
        if length > self._max_frame or shared.units + utf16_units(behind) != length:
            return None
        if not data.startswith(shared.data, start):
            return None
        self._at, self._started = end, True
        return Frame(shared, len(shared.data), behind)

    def _header(self) -> None:
        """Read the prefix, an empty line or a length; the frame begins at the newline behind it."""
        data, at = self._data, self._at
        newline = data.find(b"\n", at)
        end = newline if newline >= 0 else len(data)
        stop = min(end, at + _MAX_HEAD)
        head = self._head + data[at:stop]
        if not self._started:
            if newline < 0 and _BYTE_ORDER_MARK.startswith(head):
                self._head, self._at = head, end
                return
            self._started, head = True, head.removeprefix(_BYTE_ORDER_MARK)
        if head.lstrip().startswith(b"["):
            self._head = b""
            self._read_by_line(head + data[stop:])
        elif len(head) >= _MAX_HEAD or not head.isascii():
            self.broken = _NOT_FRAMES
        elif newline < 0:
            self._head, self._at = head, end
        else:
            self._head, self._at = b"", newline + 1
            self._take_header(head.strip())

    def _take_header(self, head: bytes) -> None:
        if head.isdigit() and len(head) <= _MAX_DIGITS:
            length = int(head)
            if not 0 < length <= self._max_frame:
                self.broken = _TOO_LONG
                return
            self._at -= 1  # the frame begins with the newline
            self._length = length
            self._base, self._size, self._units = self.shared, len(self.shared.data), self.shared.units
            self._agreed = self._taken = 0
            self._several_lines = False
        elif head == _PREFIX and not self._prefix_seen:
            self._prefix_seen = True
        elif head:
            self.broken = _NOT_FRAMES

    def _body(self) -> Frame | None:
        """Take bytes of a frame up to the next newline; return the frame if it is whole."""
        data, at = self._data, self._at
        newline = data.find(b"\n", at + (not self._taken))
        end = newline + 1 or len(data)
        self._take(data[at:end])
        self._at = end
        if newline < 0:
            if self._taken > _MOST_BYTES * self._length:
                self._read_by_line(self._held() + data[end:])
            return None
        if self._agreed < self._size:  # a newline within what is shared, whose units are not known up to here
            self._differ()
        if self._units < self._length:
            self._several_lines = True
            return None
        frame = Frame(self._base, self._size, b"".join(self._pieces))
        if self._units > self._length or (self._several_lines and not _is_json(frame.whole())):
            self._read_by_line(self._held() + data[end:])
            return None
        self._length = 0
        self._pieces.clear()
        return frame

    def _take(self, piece: bytes) -> None:
        """Take the next bytes of a frame: compare them with what may be shared, and keep the rest."""
        self._taken += len(piece)
        agreed = self._agreed
        if agreed < self._size:
            known = piece[: self._size - agreed]
            if self._base.data.startswith(known, agreed):
                self._agreed += len(known)
                piece = piece[len(known) :]
            else:
                self._differ()
        if piece:
            self._pieces.append(piece)
            self._units += utf16_units(piece)

    def _differ(self) -> None:
        """Take it that the frame shares nothing: keep what agreed so far as its own."""
        same = bytes(self._base.data[: self._agreed])
        self._pieces[:] = [same]
        self._units = utf16_units(same)
        self._size = self._agreed = 0

    def _held(self) -> bytes:
        """Return all bytes of the frame that is being read."""
        return bytes(self._base.data[: self._agreed]) + b"".join(self._pieces)

    def _read_by_line(self, unread: bytes) -> None:
        """Read all by line from here on."""
        self._by_line, self._length = True, 0
        self._data, self._at = unread, 0
        self._pieces.clear()
        self._units = 0

    def _next_line(self) -> Frame | None:
        """Read up to the next newline; return the frame if the line is one."""
        data, at = self._data, self._at
        newline = data.find(b"\n", at)
        end = newline if newline >= 0 else len(data)
        piece = data[at:end]
        self._pieces.append(piece)
        self._units += utf16_units(piece)
        self._at = end + 1
        if self._units > self._max_frame:
            self.broken = _TOO_LONG
        if newline < 0 or self.broken:
            return None
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._units = 0
        return self._line(line)

    def _line(self, line: bytes) -> Frame | None:
        line = line.strip()
        if line.startswith(b"["):
            return Frame(self.shared, 0, b"\n%b\n" % line)
        if line and line != _PREFIX and not line.isdigit():
            self.broken = _NOT_FRAMES
        return None


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True
