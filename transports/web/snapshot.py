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

_UNSETTLED = "` \t"

_HALF = re.compile(r"\\\\?u[Dd][89ABab][0-9A-Fa-f]{2}")
"""The first half of an escaped surrogate pair: the second belongs to it."""

_FLICKER = 256
"""How many characters of the frame from the text's end the site may still change."""


def loads(text: str) -> Any:
    """Decode JSON, lone surrogate escapes included.

    Raises:
        DriftDetected: it is no JSON, or is nested too deep.

    """
    try:
        try:
            return _decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError):
            return json.loads(text)
    except (ValueError, RecursionError):
        raise drift("it is not JSON") from None


class Parts:
    """The parts of one frame, and the beginning of the answer's text that they leave out."""

    __slots__ = ("known", "parts")

    def __init__(self, parts: list[Any], known: str) -> None:
        """Hold decoded parts whose candidate's text comes after `known`."""
        self.parts = parts
        self.known = known


class SnapshotReader:
    """Decodes the frames of one answer; remembers what need not be decoded again."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._prefix = ""
        """The last frame up to a place inside its text."""
        self._text_at = 0
        self._known = ""
        """The text that `prefix` ends with, decoded."""
        self._tail = ""
        """All that came behind the text in the last frame."""

    def covers(self, frame: str, following: str) -> bool:
        """Say whether `following` is `frame` with more text behind its text, and the same as it in all else.

        Then `frame` says nothing that `following` does not, and need not be decoded.
        """
        tail, prefix = self._tail, self._prefix
        if not (prefix and len(following) > len(frame) and frame.startswith(prefix) and frame.endswith(tail)):
            return False
        return following.endswith(tail) and following.startswith(frame[: len(frame) - len(tail)])

    def read(self, frame: str) -> Parts:
        """Decode a frame.

        Raises:
            DriftDetected: it is not an array of parts.

        """
        repeated = self._prefix and frame.startswith(self._prefix)
        if repeated:
            frame = frame[: self._text_at] + frame[len(self._prefix) :]
        parts = loads(frame)
        if not isinstance(parts, list):
            raise drift("a frame is no array")
        return Parts(cast("list[Any]", parts), self._known if repeated else "")

    def grown(self, frame: str) -> str | None:
        """Return the whole text of a frame that differs from the last one in its text alone; None: decode it."""
        start, tail = len(self._prefix), self._tail
        if not (start and frame.startswith(self._prefix) and frame.endswith(tail)):
            return None
        end, text_end = _settled_end(frame, start)
        if text_end != len(frame) - len(tail):
            return None
        known, fresh = self._known, _unescaped(_unescaped(frame[start:end])) if end > start else ""
        text = known + _unescaped(_unescaped(frame[start:text_end]))
        if not text.startswith(fresh, len(known)):
            return None
        self._prefix, self._known = frame[:end], known + fresh
        return text

    def learn(self, frame: str, rcid: str, known: str, text: str) -> bool:
        """Remember `frame`, whose candidate `rcid` says `text`; `known` is what `read` gave for it.

        Return whether that could be done: then `grown` reads frames that go on from it.
        """
        if known:
            start = len(self._prefix)
        else:
            opening = _TEXT_STARTS % rcid
            start = frame.find(opening) + len(opening)
            if start < len(opening):
                return False
            self._text_at = start
        end, text_end = _settled_end(frame, start)
        self._tail = frame[text_end:]
        if end > start or not known:
            fresh = _unescaped(_unescaped(frame[start:end]))
            if not text.startswith(fresh, len(known)):
                return False
            self._prefix = frame[:end]
            self._known = known + fresh
        return True


def _settled_end(frame: str, start: int) -> tuple[int, int]:
    """Return the last place in the text from `start` on that no escape crosses and no flicker should reach.

    The text's end is returned as well. Plain characters are settled at once, unless such stand last as may flicker.
    Those are, and escapes, once they are further from the end than flicker reaches: so what is looked at again is
    bounded, whatever the text is made of.
    """
    end = position = start
    boundaries: list[int] = []
    while piece := _PIECE.match(frame, position):
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


def _unescaped(text: str) -> str:
    return loads(f'["{text}"]')[0]
