"""Remove links to the site's media from a text, for a license that does not include such media; no I/O.

The text arrives in pieces, and a link may span several. Example: the pieces "See https://lh3.goo" and
"gleusercontent.com/gg/x now" become "See " and " now". Unlike markup, a link is removed in code, too.
"""

import re
from bisect import bisect_right

from transports.web import wire
from transports.web.codec.markup import Cleaner

_HOSTS = "|".join(map(re.escape, wire.MEDIA_LINK_SUFFIXES))
_END = re.compile(r"[\s<>()\[\]\"'`]")
_LINK = re.compile(rf"https?://(?:[\w-]+\.)+(?:{_HOSTS})(?::\d+)?/[^\s<>()\[\]\"'`]*", re.ASCII | re.IGNORECASE)
_LONGEST_HOST = 253
_BEGUN = re.compile(rf"h(?:t(?:t(?:ps?(?::(?:/(?:/[\w.:-]{{0,{_LONGEST_HOST}}})?)?)?)?)?)?\Z", re.ASCII | re.IGNORECASE)
"""The end of a text that may be the beginning of a link."""


class LinkRemover(Cleaner):
    """A `Cleaner` that also removes links to the site's media."""

    def __init__(self, *, markup: bool = True) -> None:
        """Clean as `Cleaner` does."""
        super().__init__(markup=markup)
        self._held = ""
        """The end of the text that may be the beginning of a link."""
        self._inside = False
        """The text ended inside a link."""
        self._position = 0
        """Number of characters read."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._before: list[int] = []
        """Start and end of each link, and the number of characters removed up to its end."""

    @property
    def removed(self) -> bool:
        """Whether a link was removed."""
        return bool(self._starts)

    @property
    def holding(self) -> bool:
        """Whether part of the text is held back."""
        return bool(self._held) or super().holding

    def push(self, piece: str) -> str:
        """Take the next piece; return the text that can no longer become markup or a link."""
        text, self._held = self._held + piece, ""
        kept = self._without_links(text)
        begun = None if self._inside else _BEGUN.search(kept, max(0, len(kept) - _LONGEST_HOST - len("https://")))
        if begun is not None:
            kept, self._held = kept[: begun.start()], kept[begun.start() :]
            self._position -= len(self._held)
        return super().push(kept)

    def flush(self) -> str:
        """Return the rest of the text, at its end."""
        return self._release() + super().flush()

    def part(self) -> str:
        """Return text held back only because of its last characters, as `Cleaner.part`."""
        return self._release() + super().part()

    def _release(self) -> str:
        held, self._held = self._held, ""
        self._position += len(held)
        return super().push(held) if held else ""

    def map_index(self, index: int) -> int:
        """Map an index of the text to the returned text, as `Cleaner.map_index`."""
        before = bisect_right(self._ends, index)
        shift = self._before[before - 1] if before else 0
        inside = before < len(self._starts) and self._starts[before] <= index
        return super().map_index((self._starts[before] if inside else index) - shift)

    def _without_links(self, text: str) -> str:
        """Return the text without links, and note their places."""
        kept: list[str] = []
        position = 0
        if self._inside and text:
            end = _END.search(text)
            position = len(text) if end is None else end.start()
            self._inside = end is None
            self._ends[-1] += position
            self._before[-1] += position
        for link in _LINK.finditer(text, position):
            kept.append(text[position : link.start()])
            position = link.end()
            self._starts.append(self._position + link.start())
            self._ends.append(self._position + link.end())
            self._before.append((self._before[-1] if self._before else 0) + len(link[0]))
            self._inside = position == len(text)
        self._position += len(text)
        return "".join(kept) + text[position:]
