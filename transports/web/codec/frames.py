r"""Split a streamed answer of the site into frames; no I/O.

An answer is `)]}'`, a blank line, then frames. A frame is a decimal length, a newline, JSON and a newline. The length
counts UTF-16 code units from the newline after the digits to the newline after the JSON, both included:

    )]}'\n
    \n
    10\n["abcd"]\n
    11\n["abcde"]\n

If a length is wrong but the lines are complete, the parser reads the rest by line, as most clients of the site do:
every line that is not a length is a frame. The last newline may be missing. Source: "Response".

Frames are cumulative: each repeats the one before it and adds a little. The parser therefore compares bytes with the
prefix that earlier frames have in common (`Shared`) and does not copy, count or decode that prefix again. A `Frame`
stores how many bytes of the prefix it uses and the bytes that follow. With the prefix `\n["abc`, the second frame
above is `Frame(shared, 6, b'de"]\n')`.

The length is only checked at a newline, because newlines rarely occur inside a frame. Every other byte is examined
a bounded number of times, however the answer is split into chunks.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from protocol.model import DriftDetected
from transports.web import wire
from transports.web.errors import drift

_MAX_DIGITS = 10

_MAX_HEAD = 32

_MOST_BYTES = 3
"""Maximum number of UTF-8 bytes per UTF-16 code unit."""

_PREFIX = wire.FRAMES_PREFIX.encode()

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_NOT_FRAMES = "The upstream's answer is not in frames."

_TOO_LONG = "The upstream's frame is longer than this gateway accepts."

_CONTINUING = bytes(range(0x80, 0xC0))
"""UTF-8 continuation bytes."""

_PAIRS = [bytes([byte]) for byte in range(0xF0, 0xF5)]
"""First bytes of the UTF-8 characters that take two UTF-16 code units."""


def utf16_units(data: bytes) -> int:
    """Count the UTF-16 code units of the characters that start in `data`, which may be cut inside a character."""
    if data.isascii():
        return len(data)
    begun = len(data.translate(None, _CONTINUING))
    return begun + sum(data.count(lead) for lead in _PAIRS if lead in data)


class Shared:
    """The prefix that the frames of an answer have in common. It only grows; a different prefix is a new object."""

    __slots__ = ("data", "units")

    def __init__(self, data: bytes = b"") -> None:
        """Start with the first bytes of a frame."""
        self.data = bytearray(data)
        self.units = utf16_units(data)

    def extend(self, data: bytes) -> None:
        """Append the bytes that follow this prefix in a frame."""
        self.data += data
        self.units += utf16_units(data)


class Frame:
    """One frame: the first `size` bytes of `shared`, followed by `rest`."""

    __slots__ = ("rest", "shared", "size")

    def __init__(self, shared: Shared, size: int, rest: bytes) -> None:
        """Store the parts of a frame."""
        self.shared, self.size, self.rest = shared, size, rest

    def whole(self) -> bytes:
        """Return the frame's JSON, between two newlines."""
        return bytes(self.shared.data[: self.size]) + self.rest if self.size else self.rest

    def behind(self, shared: Shared) -> bytes | None:
        """Return the bytes after the prefix `shared`, or None if the frame does not start with it."""
        if shared is self.shared and self.size == len(shared.data):
            return self.rest
        if self.size and shared is self.shared:
            rest, more = self.rest, shared.data[self.size :]
        else:
            rest, more = self.whole(), shared.data
        return rest[len(more) :] if rest.startswith(more) else None


class FrameParser:
    """Incremental parser: takes bytes in chunks, returns complete frames.

    `feed` yields the JSON of each frame. A reader of cumulative frames calls `push`, then `find` until it returns None,
    and sets or extends `shared` between two calls.
    """

    def __init__(self, max_frame: int) -> None:
        """Reject frames of more than `max_frame` UTF-16 code units."""
        self.shared = Shared()
        """The prefix that the next frame is compared with."""
        self.broken = ""
        """Why parsing stopped; empty while it works."""
        self._max_frame = max_frame
        self._data: bytes = b""
        self._at: int = 0
        """The current chunk, and how much of it has been read."""
        self._started = self._prefix_seen = self._by_line = False
        self._head: bytes = b""
        """The first bytes of an incomplete header line."""
        self._length = 0
        """Length of the current frame; 0 if a header comes next."""
        self._base, self._size, self._agreed = self.shared, 0, 0
        """The current frame matches `agreed` bytes of `base` so far, and at most `size` bytes."""
        self._pieces: list[bytes] = []
        """Bytes after the shared prefix, or of the current line."""
        self._taken = self._units = 0
        """Bytes of the frame received, and its code units if all `size` bytes of the prefix match."""
        self._several_lines = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes; yield the JSON of the frames they complete.

        Raises:
            DriftDetected: the bytes are not in the known frame format.

        """
        self.push(data)
        while (frame := self.find()) is not None:
            yield frame.whole()
        self.check()

    def push(self, data: bytes) -> None:
        """Take the next bytes, after `find` has read all earlier ones."""
        self._data, self._at = data, 0

    def check(self) -> None:
        """Raise if parsing stopped.

        Raises:
            DriftDetected: the bytes are not in the known frame format.

        """
        if self.broken:
            raise DriftDetected(self.broken)

    def find(self) -> Frame | None:
        """Return the next complete frame, or None if more bytes are needed or parsing stopped (`broken`)."""
        while self._at < len(self._data) and not self.broken:
            if self._by_line:
                frame = self._next_line()
            elif self._length:
                frame = self._body()
            else:
                frame = self._complete_frame() or self._header()
            if frame is not None:
                return frame
        self._data, self._at = b"", 0
        return None

    def end(self) -> Iterator[bytes]:
        """End the input; yield the JSON of the remaining frames, as `last` does.

        Raises:
            DriftDetected: the bytes are not in the known frame format.

        """
        for frame in self.last():
            yield frame.whole()

    def last(self) -> Iterator[Frame]:
        """End the input; yield remaining frames that lack only the last newline or have a wrong length.

        Raises:
            DriftDetected: the bytes are not in the known frame format.

        """
        if self._length:
            self._read_by_line(self._frame_bytes())
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
    def in_frame(self) -> bool:
        """Whether the input ends inside a frame."""
        return bool(self._length or any(self._pieces) or self._head.strip())

    def _complete_frame(self) -> Frame | None:
        """Return the next frame if it is complete, on one line and starts with all of `shared`; else consume nothing.

        This is the fast path: most frames of an answer arrive whole.
        """
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
        """Read the prefix, an empty line or a length; the frame starts at the newline after the length."""
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
            self._at -= 1  # the frame starts with the newline
            self._length = length
            self._base, self._size, self._units = self.shared, len(self.shared.data), self.shared.units
            self._agreed = self._taken = 0
            self._several_lines = False
        elif head == _PREFIX and not self._prefix_seen:
            self._prefix_seen = True
        elif head:
            self.broken = _NOT_FRAMES

    def _body(self) -> Frame | None:
        """Read bytes of a frame up to the next newline; return the frame if it is complete."""
        data, at = self._data, self._at
        newline = data.find(b"\n", at + (not self._taken))
        end = newline + 1 or len(data)
        self._take(data[at:end])
        self._at = end
        if newline < 0:
            if self._taken > _MOST_BYTES * self._length:
                self._read_by_line(self._frame_bytes() + data[end:])
            return None
        if self._agreed < self._size:  # the units of part of the prefix are unknown, so the length cannot be checked
            self._unshare()
        if self._units < self._length:
            self._several_lines = True
            return None
        frame = Frame(self._base, self._size, b"".join(self._pieces))
        if self._units > self._length or (self._several_lines and not _is_json(frame.whole())):
            self._read_by_line(self._frame_bytes() + data[end:])
            return None
        self._length = 0
        self._pieces.clear()
        return frame

    def _take(self, piece: bytes) -> None:
        """Compare the next bytes of a frame with the shared prefix, and store those that follow it."""
        self._taken += len(piece)
        agreed = self._agreed
        if agreed < self._size:
            known = piece[: self._size - agreed]
            if self._base.data.startswith(known, agreed):
                self._agreed += len(known)
                piece = piece[len(known) :]
            else:
                self._unshare()
        if piece:
            self._pieces.append(piece)
            self._units += utf16_units(piece)

    def _unshare(self) -> None:
        """Treat the frame as not shared: copy the bytes that matched so far."""
        same = bytes(self._base.data[: self._agreed])
        self._pieces[:] = [same]
        self._units = utf16_units(same)
        self._size = self._agreed = 0

    def _frame_bytes(self) -> bytes:
        """Return all bytes of the current frame."""
        return bytes(self._base.data[: self._agreed]) + b"".join(self._pieces)

    def _read_by_line(self, unread: bytes) -> None:
        """Switch to reading by line."""
        self._by_line, self._length = True, 0
        self._data, self._at = unread, 0
        self._pieces.clear()
        self._units = 0

    def _next_line(self) -> Frame | None:
        """Read up to the next newline; return the line if it is a frame."""
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


_decode = msgspec.json.Decoder().decode


def loads(text: bytes | str) -> Any:
    """Decode JSON that may contain escapes of lone surrogates.

    Raises:
        DriftDetected: the text is not JSON, or is nested too deeply.

    """
    try:
        try:
            return _decode(text)
        except (msgspec.DecodeError, UnicodeError):
            return json.loads(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError):
        raise drift("it is not JSON") from None
