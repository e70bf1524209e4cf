"""Reads the frames of one answer without decoding again what the last frame said already; no I/O.

Frames are cumulative: a megabyte of answer in ten thousand frames is five gigabytes on the wire, nearly all
of it a repetition. A frame that begins with the same characters as the last one, up to a place inside the
answer's text, is cut there: the JSON that is left is decoded (it is the same frame, with the text's new end as its
whole text), and the known beginning of the text is put in front. What is skipped is only compared.

A frame whose beginning differs is decoded whole, so the short cut changes cost and never content.
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
"""How candidate and text begin inside the frame's JSON text: `[4] = [[rcid, [text …`."""

_PIECE = re.compile(
    r'(?P<plain>[^"\\]+)'
    r"|(?P<unit>\\\\?u(?!0022|005[Cc]|[Dd])[0-9A-Fa-f]{4})"
    r"|\\\\u[0-9A-Fa-f]{4}"
    r"|\\u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}"
    r'|\\\\(?:\\["\\]|[^"\\])'
)
"""One piece of text inside a string inside a string: plain characters, or an escape of either string."""

_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
"""A text that is written as it is."""

_UNSETTLED = "` \t"

_HALF = re.compile(r"\\\\?u[Dd][89ABab][0-9A-Fa-f]{2}")
"""The first half of an escaped surrogate pair: the second belongs to it."""

_FLICKER = 256
"""How many characters of the frame from the text's end the site may still change."""


def loads(text: bytes | str) -> Any:
    """Decode JSON, lone surrogate escapes included.

    Raises:
        DriftDetected: it is no JSON, or is nested too deep.

    """
    try:
        try:
            return _decode(text)
        except (msgspec.DecodeError, UnicodeError):
            return json.loads(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError):
        raise drift("it is not JSON") from None


class FrameParts:
    """The parts of one frame, and the beginning of the answer's text that they leave out."""

    __slots__ = ("json", "known", "parts", "shared")

    def __init__(self, json: bytes, known: str, *, shared: bool) -> None:
        """Decode a frame's JSON. It leaves out `known`, the beginning of the candidate's text, where that is `shared`.

        Raises:
            DriftDetected: it is not an array of parts.

        """
        parts = loads(json)
        if not isinstance(parts, list):
            raise drift("a frame is no array")
        self.parts = cast("list[Any]", parts)
        self.json, self.known, self.shared = json, known, shared


class SnapshotReader:
    """Decodes the frames of one answer; remembers what need not be decoded again."""

    def __init__(self, frames: FrameParser) -> None:
        """Start with nothing known; tell `frames` what the frames share."""
        self._frames = frames
        self._text_at = 0
        """Where the answer's text begins in what is shared, which ends inside the text; 0: nothing is shared yet."""
        self._known = ""
        """The text that is shared, decoded."""
        self._tail = b""
        """All that came behind the text in the last frame."""

    def behind(self, frame: Frame) -> bytes | None:
        """Return what comes behind the shared beginning; None: the frame begins otherwise."""
        return frame.behind(self._frames.shared) if self._text_at else None

    def covers(self, frame: Frame, following: Frame) -> bool:
        """Say whether `following` is `frame` with more text behind its text, and the same as it in all else.

        Then `frame` says nothing that `following` does not, and need not be decoded.
        """
        before, after = self.behind(frame), self.behind(following)
        tail = self._tail
        if before is None or after is None or len(after) <= len(before):
            return False
        if not (before.endswith(tail) and after.endswith(tail)):
            return False
        return after.startswith(before[: len(before) - len(tail)])

    def read(self, frame: Frame, fresh: bytes | None) -> FrameParts:
        """Decode a frame, of which `fresh` is what `behind` gives.

        Raises:
            DriftDetected: it is not an array of parts.

        """
        if fresh is None:
            return FrameParts(frame.whole(), "", shared=False)
        return FrameParts(bytes(self._frames.shared.data[: self._text_at]) + fresh, self._known, shared=True)

    def grown(self, fresh: bytes) -> str | None:
        """Return the whole text of a frame that differs from the last one in its text alone; None: decode it.

        `fresh` is what `behind` gives for the frame.
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
        """Remember the frame that was read, whose candidate `rcid` says `text`.

        Return whether that could be done: then `grown` reads frames that go on from it.
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
    """Return the last place in a text as it is written in its frame that no escape crosses and no flicker should reach.

    The text's end is returned as well: what comes behind it may be part of `written`.
    Plain characters are settled at once, unless such stand last as may flicker.
    Those are, and escapes, once they are further from the end than flicker reaches: so what is looked at again is
    bounded, whatever the text is made of.
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
    """Return a text that is written inside a string inside a string."""
    inner = loads(f'["{written}"]')[0]
    return loads(f'["{inner}"]')[0]
