"""Puts links where a text has markers such as ` [cite: 1, 2]`, and finds claims in it; no I/O. Source: "Citations".

The site tells what a marker stands for in a field beside the text, perhaps later than the marker itself. What was
said cannot be taken back, so a marker waits, and all behind it, until that is known or the answer is complete. Every
character is looked at a bounded number of times.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import msgspec

from protocol.model import Citation, Text
from transports.web import wire
from transports.web.codec.candidate import Cited, Claim, SourceLink

_LONGEST = 200
_MARKER = re.compile(rf"\[[^\[\]\n]{{1,{_LONGEST}}}\]")
_NUMBER = re.compile(r"\d+")
_IN_LINK = str.maketrans({" ": "%20", "(": "%28", ")": "%29", "<": "%3C", ">": "%3E", "\\": "%5C", '"': "%22"})
_ASTRAL = re.compile(r"[\U00010000-\U0010ffff]")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def link_to(url: str) -> str:
    """Return an address as it may stand in a Markdown link; empty where it is none of the web's."""
    if not url.startswith(("http://", "https://")):
        return ""
    return _CONTROL.sub("", url.translate(_IN_LINK))


class Prose:
    """Pieces of a text in, the same with links for markers out."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self._known: dict[str, tuple[SourceLink, ...]] = {}
        self._held: list[str] = []
        self._awaited = ""
        """The marker that what is held begins with, where that is why."""
        self._said = 0
        """How many characters were said."""
        self._taken = 0
        """How many characters of the text were said, replaced or skipped."""
        self._spans: list[_Span] = []

    @property
    def holding(self) -> bool:
        """Whether something waits."""
        return bool(self._held)

    @property
    def any(self) -> bool:
        """Whether anything was said."""
        return self._said > 0

    def learn(self, groups: Iterable[Cited]) -> None:
        """Take what markers stand for."""
        for group in groups:
            marker = group.marker.strip()
            if _MARKER.fullmatch(marker):
                self._known[marker] = group.sources

    def say(self, text: str) -> list[Text | Citation]:
        """Take the next piece; return what can be said."""
        if not self._held and "[" not in text:
            return self._plain(text)
        if text:
            self._held.append(text)
        if not self._held or (self._awaited and self._awaited not in self._known):
            return []
        return self._told(last=False)

    def settle(self) -> list[Text | Citation]:
        """Return all that waits; a marker that is not known by now stays as it is."""
        return self._told(last=True) if self._held else []

    def verbatim(self, text: str) -> list[Text | Citation]:
        """Take a piece that has no markers whatever it looks like; return it, behind all that waited."""
        events = self.settle()
        if text:
            events.append(self._text(text))
        return events

    def skip(self, length: int) -> None:
        """Pass over the next characters of the text: they are not said. Nothing may wait."""
        self._taken += length

    def range_of(self, start: int, end: int) -> tuple[int, int] | None:
        """Return where the characters `start` to `end` of the text stand in all that was said; None: not there."""
        first, last = self._span_at(start), self._span_at(end - 1)
        if start >= end or first is None or last is None:
            return None
        begin = first.said if first.link else first.said + start - first.taken
        finish = last.said + last.length if last.link else last.said + end - last.taken
        return (begin, finish)

    def _span_at(self, index: int) -> "_Span | None":
        found = bisect_right(self._spans, index, key=lambda span: span.taken) - 1
        span = self._spans[found] if found >= 0 else None
        return span if span is not None and index < span.taken + span.size else None

    def _note(self, size: int, length: int, *, link: bool) -> None:
        """Note that the next `size` characters of the text become the `length` last ones said."""
        last = self._spans[-1] if self._spans else None
        start = self._said - length
        goes_on = last is not None and (last.taken + last.size, last.said + last.length) == (self._taken, start)
        if last is not None and goes_on and not (link or last.link):
            last.size += size
            last.length += length
        else:
            self._spans.append(_Span(taken=self._taken, size=size, said=start, length=length, link=link))
        self._taken += size

    def _told(self, *, last: bool) -> list[Text | Citation]:
        text = "".join(self._held)
        self._held, self._awaited = [], ""
        events: list[Text | Citation] = []
        position = 0
        for found in _MARKER.finditer(text):
            marker = found.group()
            sources = self._known.get(marker)
            if sources is not None:
                events += self._linked(text[position : found.start()], marker, sources)
                position = found.end()
            elif marker.startswith(wire.CITE) and not last:
                self._awaited = marker
                self._hold(text[found.start() :])
                return [*events, *self._plain(text[position : found.start()])]
        end = len(text) if last else max(position, self._open_end(text))
        self._hold(text[end:])
        return [*events, *self._plain(text[position:end])]

    def _hold(self, text: str) -> None:
        if text:
            self._held.append(text)

    def _open_end(self, text: str) -> int:
        """Return where a piece at the end begins that may grow into a marker."""
        start = text.rfind("[", max(0, len(text) - _LONGEST - 1))
        tail = text[start:] if start >= 0 else ""
        if not tail or "]" in tail or "\n" in tail:
            return len(text)
        begun = wire.CITE.startswith(tail) or tail.startswith(wire.CITE)
        return start if begun or any(marker.startswith(tail) for marker in self._known) else len(text)

    def _plain(self, text: str) -> list[Text | Citation]:
        if not text:
            return []
        said = self._text(text)
        self._note(len(text), len(text), link=False)
        return [said]

    def _text(self, text: str) -> Text:
        self._said += len(text)
        return Text(text=text)

    def _linked(self, before: str, marker: str, sources: tuple[SourceLink, ...]) -> list[Text | Citation]:
        numbers = _NUMBER.findall(marker)
        if len(numbers) != len(sources):
            numbers = [str(number) for number in range(1, len(sources) + 1)]
        links = ""
        citations: list[Citation] = []
        events = self._plain(before)
        for place, (number, source) in enumerate(zip(numbers, sources, strict=True)):
            links += " " if place else ""
            url = link_to(source.url)
            link = f"[[{number}]]({url})" if url else f"[{number}]"
            start = self._said + len(links)
            links += link
            if url:
                citations.append(Citation(start=start, end=start + len(link), url=source.url, title=source.title))
        said = self._text(links)
        self._note(len(marker), len(links), link=True)
        return [*events, said, *citations]


class _Span(msgspec.Struct, kw_only=True):
    """Characters of the text, and what they have become."""

    taken: int
    """Where they begin in the text, …"""
    size: int
    said: int
    """… and in what was said."""
    length: int
    link: bool
    """They are a marker, and have become links."""


class ScriptText:
    """A text whose places are given in UTF-16 code units, as JavaScript counts."""

    def __init__(self, text: str) -> None:
        """Take the text as the site has sent it."""
        self._text = text
        pairs = (found.start() for found in _ASTRAL.finditer(text)) if not text.isascii() else ()
        self._pairs = [index + number for number, index in enumerate(pairs)]
        """Where characters of two units begin, in units."""
        self._bytes = b"" if text.isascii() else text.encode("utf-8", "surrogatepass")

    def find(self, claim: Claim) -> list[tuple[int, int]]:
        """Return where a claim stands, in characters; ranges that do not fit its words are left out.

        Where the units do not fit and characters or bytes of UTF-8 do, the site has counted those.
        """
        found: list[tuple[int, int]] = []
        for start, end in claim.ranges:
            places = [(self._index(start), self._index(end)), (start, end)]
            inside = [(first, last) for first, last in places if 0 <= first < last <= len(self._text)]
            if not claim.text:
                found += inside[:1]
                continue
            exact = [place for place in inside if self._text[slice(*place)] == claim.text] or self._of_bytes(
                claim, start
            )
            like = [place for place in inside if _letters(self._text[slice(*place)]) == _letters(claim.text)]
            found += (exact or like)[:1]
        return found

    def _index(self, units: int) -> int:
        """Return the index of a character by its offset in code units; -1 where that is inside a character."""
        before = bisect_left(self._pairs, units)
        inside = before > 0 and self._pairs[before - 1] == units - 1
        return -1 if inside else units - before

    def _of_bytes(self, claim: Claim, start: int) -> list[tuple[int, int]]:
        """Return where a claim stands if `start` counts bytes of UTF-8."""
        words = claim.text.encode("utf-8", "surrogatepass")
        if start < 0 or not self._bytes.startswith(words, start):
            return []
        first = len(self._bytes[:start].decode("utf-8", "surrogatepass"))
        return [(first, first + len(claim.text))]


def _letters(text: str) -> str:
    """Return what of a text does not depend on Markdown and white space."""
    return "".join(filter(str.isalnum, text)) or text.strip()
