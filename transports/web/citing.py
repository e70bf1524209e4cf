"""Puts links where a text has markers such as ` [cite: 1, 2]`; no I/O. Source: "Rich content fields".

The site tells what a marker stands for in a field beside the text, perhaps later than the marker itself. What was
said cannot be taken back, so a marker waits, and all behind it, until that is known or the answer is complete. Every
character is looked at a bounded number of times.
"""

import re
from collections.abc import Iterable

from protocol.model import Citation, Text
from transports.web import wire
from transports.web.rich import Cited, Source

_LONGEST = 200
_MARKER = re.compile(rf"\[[^\[\]\n]{{1,{_LONGEST}}}\]")
_NUMBER = re.compile(r"\d+")
_IN_LINK = str.maketrans({" ": "%20", "(": "%28", ")": "%29", "<": "%3C", ">": "%3E", "\\": "%5C", '"': "%22"})
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
        self._known: dict[str, tuple[Source, ...]] = {}
        self._held: list[str] = []
        self._awaited = ""
        """The marker that what is held begins with, where that is why."""
        self._said = 0
        """How many characters were said."""

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
        return [self._text(text)] if text else []

    def _text(self, text: str) -> Text:
        self._said += len(text)
        return Text(text=text)

    def _linked(self, before: str, marker: str, sources: tuple[Source, ...]) -> list[Text | Citation]:
        numbers = _NUMBER.findall(marker)
        if len(numbers) != len(sources):
            numbers = [str(number) for number in range(1, len(sources) + 1)]
        said = before
        citations: list[Citation] = []
        for place, (number, source) in enumerate(zip(numbers, sources, strict=True)):
            said += " " if place else ""
            url = link_to(source.url)
            link = f"[[{number}]]({url})" if url else f"[{number}]"
            start = self._said + len(said)
            said += link
            if url:
                citations.append(Citation(start=start, end=start + len(link), url=source.url, title=source.title))
        return [self._text(said), *citations]
