"""Turn snapshots of a text into additions (`TextDelta`), and citation markers into links (`Prose`); no I/O.

The site sends the whole text in every frame; clients get only what is new. Near its end a snapshot can flicker:
a closing fence, or a backslash before a Markdown marker, is in one frame and gone in the next. Text that was sent
cannot be taken back, so `TextDelta` holds the end of a snapshot back from the first backtick or backslash in the last
`_WINDOW` characters, until more text follows it or the answer is complete:

    push("Use `ls`")                                       -> "Use"
    push("Use `ls")                                        -> ""    the closing backtick flickered
    push("Use `ls` to list the files in the home folder.") -> " `ls` to list the files in the home folder."

The first half of a surrogate pair is held back until the second half arrives. A snapshot that does not start with the
text sent so far (the site rewrote or shortened it) adds nothing. Source: "Response".

The sources of a marker such as `[cite: 1, 2]` may arrive after the marker. `Prose` holds the marker and everything
after it back until its sources are known or the answer is complete:

    push("It is blue [cite: 1], ")       -> "It is blue "
    learn(marker "[cite: 1]" -> url)
    push("he said.")                     -> "[[1]](url)", Citation(start=11, end=21), ", he said."
    flush()                              -> nothing: no text is held back

A claim has no marker: the site names a range of its text and the sources, at the end of the answer. `Prose` records
how positions in the site's text map to positions in the text that was sent (links are longer than their markers), so
`range_of` can translate the range. `ScriptText` converts the site's UTF-16 offsets to Python indexes. Every character
is examined a bounded number of times. Source: "Citations".
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import msgspec

from protocol.model import Citation, Text
from transports.web import wire
from transports.web.codec.candidate import Cited, Claim, SourceLink

_WINDOW = 32
"""A fence or backslash further than this from the end of a snapshot no longer changes, in characters."""

_DOUBTFUL = re.compile(r"\s*(?:`|\\)")

_HIGH_SURROGATES = ("\ud800", "\udbff")


class TextDelta:
    """Convert the snapshots of one text into additions.

    The additions joined are the last snapshot, unless the site rewrote the text.
    """

    def __init__(self) -> None:
        """Start with an empty text."""
        self._settled = ""

    def push(self, snapshot: str) -> str:
        """Take a snapshot; return the new text that is safe to send, which may be empty."""
        settled, end = self._settled, len(snapshot)
        start = len(settled)
        if end <= start or not snapshot.startswith(settled):
            return ""  # nothing new, or a change before the window: a later snapshot decides
        doubtful = _DOUBTFUL.search(snapshot, max(start, end - _WINDOW))
        if doubtful:
            end = doubtful.start()
        if end > start and _HIGH_SURROGATES[0] <= snapshot[end - 1] <= _HIGH_SURROGATES[1]:
            end -= 1
        self._settled = snapshot[:end]
        return snapshot[start:end]

    def extended_by(self, snapshot: str) -> bool:
        """Return whether a snapshot starts with all text sent so far."""
        return snapshot.startswith(self._settled)

    def common(self, snapshot: str) -> int:
        """Return the length of the common prefix of a snapshot and the text sent so far."""
        sizes = range(1, min(len(snapshot), len(self._settled)) + 1)
        return bisect_right(sizes, False, key=lambda size: not self._settled.startswith(snapshot[:size]))

    def behind(self, snapshot: str) -> bool:
        """Return whether a snapshot is longer than the text sent so far."""
        return len(snapshot) > len(self._settled)

    def flush(self, snapshot: str) -> str:
        """Take a final snapshot; return all of it that was not sent yet."""
        start = len(self._settled)
        if len(snapshot) <= start or not self.extended_by(snapshot):
            return ""
        self._settled = snapshot
        return snapshot[start:]


_LONGEST = 200

_MARKER = re.compile(rf"\[[^\[\]\n]{{1,{_LONGEST}}}\]")

_NUMBER = re.compile(r"\d+")

_IN_LINK = str.maketrans({" ": "%20", "(": "%28", ")": "%29", "<": "%3C", ">": "%3E", "\\": "%5C", '"': "%22"})

_ASTRAL = re.compile(r"[\U00010000-\U0010ffff]")

_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def link_to(url: str) -> str:
    """Escape an http(s) URL for a Markdown link; return an empty string for any other URL."""
    if not url.startswith(("http://", "https://")):
        return ""
    return _CONTROL.sub("", url.translate(_IN_LINK))


class Prose:
    """Replace the markers in a streamed text by links."""

    def __init__(self) -> None:
        """Start with an empty text."""
        self._known: dict[str, tuple[SourceLink, ...]] = {}
        self._held: list[str] = []
        self._awaited = ""
        """The unknown marker that the held text starts with, if that is why it is held."""
        self._sent = 0
        """Number of characters sent."""
        self._taken = 0
        """Number of characters of the site's text that were sent, replaced or skipped."""
        self._spans: list[_TextRange] = []

    @property
    def holding(self) -> bool:
        """Whether text is held back."""
        return bool(self._held)

    @property
    def any(self) -> bool:
        """Whether any text was sent."""
        return self._sent > 0

    def learn(self, groups: Iterable[Cited]) -> None:
        """Store the sources of markers."""
        for group in groups:
            marker = group.marker.strip()
            if _MARKER.fullmatch(marker):
                self._known[marker] = group.sources

    def push(self, text: str) -> list[Text | Citation]:
        """Take the next piece of text; return what can be sent."""
        if not self._held and "[" not in text:
            return self._plain(text)
        if text:
            self._held.append(text)
        if not self._held or (self._awaited and self._awaited not in self._known):
            return []
        return self._replace_markers(last=False)

    def flush(self) -> list[Text | Citation]:
        """Return all held text; markers without known sources stay unchanged."""
        return self._replace_markers(last=True) if self._held else []

    def verbatim(self, text: str) -> list[Text | Citation]:
        """Take a piece of text in which nothing is a marker; return it after all held text."""
        events = self.flush()
        if text:
            events.append(self._text(text))
        return events

    def skip(self, length: int) -> None:
        """Skip the next characters of the site's text without sending them; no text may be held back."""
        self._taken += length

    def range_of(self, start: int, end: int) -> tuple[int, int] | None:
        """Map a range of the site's text to the text that was sent; None if it was not sent."""
        first, last = self._span_at(start), self._span_at(end - 1)
        if start >= end or first is None or last is None:
            return None
        begin = first.sent if first.link else first.sent + start - first.taken
        finish = last.sent + last.length if last.link else last.sent + end - last.taken
        return (begin, finish)

    def _span_at(self, index: int) -> "_TextRange | None":
        found = bisect_right(self._spans, index, key=lambda span: span.taken) - 1
        span = self._spans[found] if found >= 0 else None
        return span if span is not None and index < span.taken + span.size else None

    def _note(self, size: int, length: int, *, link: bool) -> None:
        """Record that the next `size` characters of the site's text became the last `length` characters sent."""
        last = self._spans[-1] if self._spans else None
        start = self._sent - length
        adjacent = last is not None and (last.taken + last.size, last.sent + last.length) == (self._taken, start)
        if last is not None and adjacent and not (link or last.link):
            last.size += size
            last.length += length
        else:
            self._spans.append(_TextRange(taken=self._taken, size=size, sent=start, length=length, link=link))
        self._taken += size

    def _replace_markers(self, *, last: bool) -> list[Text | Citation]:
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
        end = len(text)
        if not last:  # an incomplete marker at the end is held back
            start = text.rfind("[", max(0, end - _LONGEST - 1))
            tail = text[start:] if start >= 0 else ""
            if tail and "]" not in tail and "\n" not in tail:
                begun = wire.CITE.startswith(tail) or tail.startswith(wire.CITE)
                if begun or any(marker.startswith(tail) for marker in self._known):
                    end = max(position, start)
        self._hold(text[end:])
        return [*events, *self._plain(text[position:end])]

    def _hold(self, text: str) -> None:
        if text:
            self._held.append(text)

    def _plain(self, text: str) -> list[Text | Citation]:
        if not text:
            return []
        event = self._text(text)
        self._note(len(text), len(text), link=False)
        return [event]

    def _text(self, text: str) -> Text:
        self._sent += len(text)
        return Text(text=text)

    def _linked(self, before: str, marker: str, sources: tuple[SourceLink, ...]) -> list[Text | Citation]:
        numbers = _NUMBER.findall(marker)
        if len(numbers) != len(sources):
            numbers = [str(number) for number in range(1, len(sources) + 1)]
        links = ""
        citations: list[Citation] = []
        events = self._plain(before)
        for index, (number, source) in enumerate(zip(numbers, sources, strict=True)):
            links += " " if index else ""
            url = link_to(source.url)
            link = f"[[{number}]]({url})" if url else f"[{number}]"
            start = self._sent + len(links)
            links += link
            if url:
                citations.append(Citation(start=start, end=start + len(link), url=source.url, title=source.title))
        event = self._text(links)
        self._note(len(marker), len(links), link=True)
        return [*events, event, *citations]


class _TextRange(msgspec.Struct, kw_only=True):
    """A range of the site's text and the range of the sent text that it became."""

    taken: int
    """Start in the site's text."""
    size: int
    sent: int
    """Start in the sent text."""
    length: int
    link: bool
    """The range was a marker and became links."""


class ScriptText:
    """A text whose offsets are given in UTF-16 code units, as JavaScript counts."""

    def __init__(self, text: str) -> None:
        """Store the text as sent by the site."""
        self._text = text
        pairs = (found.start() for found in _ASTRAL.finditer(text)) if not text.isascii() else ()
        self._pairs = [index + number for number, index in enumerate(pairs)]
        """Offsets of the characters of two code units, in code units."""
        self._bytes = b"" if text.isascii() else text.encode("utf-8", "surrogatepass")

    def find(self, claim: Claim) -> list[tuple[int, int]]:
        """Return the ranges of a claim in characters; ranges whose text differs from the claim are left out.

        If code units do not match but characters or UTF-8 bytes do, the site counted those.
        """
        found: list[tuple[int, int]] = []
        for start, end in claim.ranges:
            candidates = [(self._index(start), self._index(end)), (start, end)]
            inside = [(first, last) for first, last in candidates if 0 <= first < last <= len(self._text)]
            if not claim.text:
                found += inside[:1]
                continue
            exact = [bounds for bounds in inside if self._text[slice(*bounds)] == claim.text]
            encoded = claim.text.encode("utf-8", "surrogatepass")
            if not exact and start >= 0 and self._bytes.startswith(encoded, start):
                first = len(self._bytes[:start].decode("utf-8", "surrogatepass"))
                exact = [(first, first + len(claim.text))]
            like = [bounds for bounds in inside if _letters(self._text[slice(*bounds)]) == _letters(claim.text)]
            found += (exact or like)[:1]
        return found

    def _index(self, units: int) -> int:
        """Convert an offset in code units to a character index; -1 if it is inside a character."""
        before = bisect_left(self._pairs, units)
        inside = before > 0 and self._pairs[before - 1] == units - 1
        return -1 if inside else units - before


def _letters(text: str) -> str:
    """Return the letters and digits of a text, which do not depend on Markdown and white space."""
    return "".join(filter(str.isalnum, text)) or text.strip()
