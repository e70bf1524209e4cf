"""Reads server-sent events from pieces of bytes, which may be cut anywhere.

Source: "Base"; https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

import re

_LINE_END = re.compile(rb"\r\n|\n|\r")


class SseTooLong(ValueError):
    """An event is longer than the limit."""


class SseReader:
    """Collects the data of each event; other fields and comments are ignored."""

    def __init__(self, most: int) -> None:
        """Accept events of at most `most` bytes."""
        self._most = most
        self._line = bytearray()
        """The line that has not ended."""
        self._after_return = False
        """Whether the last piece ended with a carriage return: a line feed at the next one belongs to it."""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of the events that end in this piece.

        Raises:
            SseTooLong: an event is too long.

        """
        if not piece:
            return []
        if self._after_return:
            piece = piece.removeprefix(b"\n")
        self._after_return = piece.endswith(b"\r")
        found: list[bytes] = []
        *ends, rest = _LINE_END.split(piece)
        for end in ends:
            self._line += end
            found += self._read_line(bytes(self._line))
            self._line.clear()
        self._line += rest
        if self._size + len(self._line) > self._most:
            raise SseTooLong
        return found

    def end(self) -> list[bytes]:
        """Return the data of the event that has not ended, if there is any."""
        data, self._data, self._size = b"\n".join(self._data), [], 0
        return [data] if data else []

    def _read_line(self, line: bytes) -> list[bytes]:
        if not line:
            return self.end()
        if line.startswith(b"data:"):
            data = line[5:].removeprefix(b" ")
            self._data.append(data)
            self._size += len(data)
        return []
