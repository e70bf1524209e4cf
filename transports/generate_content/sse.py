"""Reads server-sent events from pieces of bytes, which may be cut anywhere.

Source: "Base"; https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from protocol.model import UpstreamFailed

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELDS = (b":", b"event:", b"id:", b"retry:", b"data:")
"""Begin the lines of a stream of events; `:` begins a comment."""
_LONGEST_OTHER = 64 * 1024


class SseTooLong(UpstreamFailed):
    """An event is longer than the limit."""


class SseReader:
    """Collects the data of each event; other fields and comments are ignored.

    Lines outside of events, as of a page or a JSON document in place of a stream, are kept in `other`, up to a limit.
    """

    def __init__(self, most: int) -> None:
        """Accept events of at most `most` bytes."""
        self._most = most
        self._line = bytearray()
        """The line that has not ended."""
        self._begun = False
        """Whether a line has ended."""
        self._after_return = False
        """Whether the last piece ended with a carriage return: a line feed at the next one belongs to it."""
        self._data: list[bytes] = []
        self._size = 0
        self.other = bytearray()
        """The lines that belong to no event."""

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
        lines = piece.splitlines()
        rest = lines.pop() if lines and not piece.endswith((b"\r", b"\n")) else b""
        for line in lines:
            if self._line:
                self._line += line
                found += self._read_line(bytes(self._line))
                self._line.clear()
            else:
                found += self._read_line(line)
        self._line += rest
        if self._size + len(self._line) > self._most:
            raise SseTooLong("The upstream's answer is too long.")
        return found

    def end(self) -> list[bytes]:
        """Return the data of the event that has not ended, if there is any, without a line that has not ended."""
        if self._line and not self._line.startswith(b"data:"):
            self._read_line(bytes(self._line))
        return self._dispatch()

    def _dispatch(self) -> list[bytes]:
        data, self._data, self._size = b"\n".join(self._data), [], 0
        return [data] if data else []

    def _read_line(self, line: bytes) -> list[bytes]:
        if not self._begun:
            self._begun, line = True, line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        if line.startswith(b"data:"):
            data = line[6:] if line.startswith(b"data: ") else line[5:]
            self._data.append(data)
            self._size += len(data)
        elif not line.startswith(_FIELDS) and len(self.other) + len(line) < _LONGEST_OTHER:
            self.other += line + b"\n"
        return []
