r"""Decode the frames of one answer incrementally, skipping text that earlier frames already contained; no I/O.

Frames are cumulative: a megabyte of answer in ten thousand frames is five gigabytes on the wire, nearly all of it
repeated. If a frame starts with the same bytes as the last one, up to a position inside the answer's text, the reader
removes the known part of the text, decodes the short JSON that is left and puts the known text back in front:

    last frame        [["r1",["The sky is blue"]]]
    shared prefix     [["r1",["The sky is
    this frame        [["r1",["The sky is blue today"]]]
    decoded JSON      [["r1",[" blue today"]]]
    text              "The sky is" + " blue today"

(In a real frame the candidate is a JSON string inside a JSON string, so its quotes are escaped.) The prefix must end
between two escapes and before the end of the text that the site may still change (`_settled_end`). If only the text
grew, even the short JSON is not decoded (`grown`). A frame with a different prefix is decoded whole, so this changes
the cost, never the result.
"""

import json
import re
from bisect import bisect_right
from typing import Any, cast

import msgspec

from transports.web.codec.frames import Frame, FrameParser, Shared
from transports.web.errors import drift

_decode = msgspec.json.Decoder().decode

_TEXT_STARTS = '[[\\"%s\\",[\\"'
"""How a candidate and its text start inside the frame's JSON: `[4] = [[rcid, [text …`."""

_PIECE = re.compile(
    r'(?P<plain>[^"\\]+)'
    r"|(?P<unit>\\\\?u(?!0022|005[Cc]|[Dd])[0-9A-Fa-f]{4})"
    r"|\\\\u[0-9A-Fa-f]{4}"
    r"|\\u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}"
    r'|\\\\(?:\\["\\]|[^"\\])'
)
"""One token of a string inside a string: plain characters, or an escape of either string."""

_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
"""A text without escapes."""

_UNSETTLED = "` \t"

_HALF = re.compile(r"\\\\?u[Dd][89ABab][0-9A-Fa-f]{2}")
"""The first half of an escaped surrogate pair; the second half must not be separated from it."""

_FLICKER = 256
"""The site may still change this many characters at the end of the text."""


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


class FrameParts:
    """The parts of one frame, and the beginning of the answer's text that was removed from them."""

    __slots__ = ("json", "known", "parts", "shared")

    def __init__(self, json: bytes, known: str, *, shared: bool) -> None:
        """Decode a frame's JSON. If `shared`, the beginning of the candidate's text, `known`, was removed from it.

        Raises:
            DriftDetected: the JSON is not an array of parts.

        """
        parts = loads(json)
        if not isinstance(parts, list):
            raise drift("a frame is not an array")
        self.parts = cast("list[Any]", parts)
        self.json, self.known, self.shared = json, known, shared


class SnapshotReader:
    """Decode the frames of one answer, and remember the prefix that need not be decoded again."""

    def __init__(self, frames: FrameParser) -> None:
        """Start without a shared prefix; this reader sets the prefix of `frames`."""
        self._frames = frames
        self._text_at = 0
        """Where the answer's text starts in the shared prefix, which ends inside the text; 0: no prefix yet."""
        self._known = ""
        """The decoded text of the shared prefix."""
        self._tail = b""
        """Everything after the text in the last frame."""

    def behind(self, frame: Frame) -> bytes | None:
        """Return the bytes after the shared prefix, or None if the frame does not start with it."""
        return frame.behind(self._frames.shared) if self._text_at else None

    def covers(self, frame: Frame, following: Frame) -> bool:
        """Return whether `following` differs from `frame` only by additional text at the end of its text.

        Then `frame` contains nothing that `following` lacks, and need not be decoded.
        """
        before, after = self.behind(frame), self.behind(following)
        tail = self._tail
        if before is None or after is None or len(after) <= len(before):
            return False
        if not (before.endswith(tail) and after.endswith(tail)):
            return False
        return after.startswith(before[: len(before) - len(tail)])

    def read(self, frame: Frame, fresh: bytes | None) -> FrameParts:
        """Decode a frame; `fresh` is the result of `behind` for it.

        Raises:
            DriftDetected: the frame is not an array of parts.

        """
        if fresh is None:
            return FrameParts(frame.whole(), "", shared=False)
        return FrameParts(bytes(self._frames.shared.data[: self._text_at]) + fresh, self._known, shared=True)

    def grown(self, fresh: bytes) -> str | None:
        """Return the whole text of a frame that differs from the last only in its text; None if it must be decoded.

        `fresh` is the result of `behind` for the frame.
        """
        tail = self._tail
        if not fresh.endswith(tail):
            return None
        try:
            written = fresh[: len(fresh) - len(tail)].decode()
        except UnicodeDecodeError:
            return None
        if _PLAIN.fullmatch(written):
            settled = max(len(written.rstrip(_UNSETTLED)), len(written) - _FLICKER)
            text = self._known + written
            known = text if settled == len(written) else self._known + written[:settled]
        else:
            settled, end = _settled_end(written)
            if end != len(written):
                return None
            text = self._known + _unescaped(written)
            known = self._known + _unescaped(written[:settled])
            if not text.startswith(known):
                return None
        if settled:
            self._frames.shared.extend(written[:settled].encode())
            self._known = known
        return text

    def learn(self, read: FrameParts, rcid: str, text: str) -> bool:
        """Remember the frame `read`, whose candidate `rcid` has the text `text`.

        Return whether that succeeded: then `grown` can read frames that continue it.
        """
        start = self._text_at
        if not read.shared:
            opening = (_TEXT_STARTS % rcid).encode()
            start = read.json.find(opening) + len(opening)
            if start < len(opening):
                return False
        written = read.json[start:].decode()
        settled, end = _settled_end(written)
        known = _unescaped(written[:settled])
        if not text.startswith(known, len(read.known)):
            return False
        self._tail = written[end:].encode()
        beginning = written[:settled].encode()
        if read.shared:
            self._frames.shared.extend(beginning)
        else:
            self._frames.shared = Shared(read.json[:start] + beginning)
        self._text_at = start
        self._known = read.known + known
        return True


def _settled_end(written: str) -> tuple[int, int]:
    """Return where the settled part of an escaped text ends, and where the text itself ends.

    `written` is the text as escaped in its frame, perhaps with more of the frame after it. The settled part ends
    between two escapes, at a position that the site should no longer change. Plain characters are settled at once,
    except trailing characters that may flicker. Those, and escapes, are settled once they are more than `_FLICKER`
    characters from the end; so the part that is read again is bounded for every text.
    """
    end = position = 0
    boundaries: list[int] = []
    while piece := _PIECE.match(written, position):
        position = piece.end()
        plain = piece["plain"]
        if plain is not None:
            kept = plain.rstrip(_UNSETTLED)
            if kept:
                end = piece.start() + len(kept)
            boundaries.append(max(piece.start(), position - _FLICKER))
        elif piece["unit"] is not None:
            end = position
        if not _HALF.fullmatch(piece.group()):
            boundaries.append(position)
    settled = bisect_right(boundaries, position - _FLICKER)
    return max(end, boundaries[settled - 1]) if settled else end, position


def _unescaped(written: str) -> str:
    """Decode a text that is escaped as a string inside a string."""
    inner = loads(f'["{written}"]')[0]
    return loads(f'["{inner}"]')[0]
