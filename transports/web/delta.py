"""Turns cumulative snapshots of a text into append-only deltas; no I/O.

Near its end a snapshot can flicker: a closing fence, or a backslash before a Markdown marker, stands in one
frame and is gone in the next. What was sent cannot be taken back, so what may flicker waits until text behind it
has settled it, or the answer is complete. Placeholder links are taken out, and half of a surrogate pair
waits for the other half. Source: "Response".
"""

import re

from transports.web import wire

_WINDOW = 32
"""How near to the end is near: beyond so many characters a fence or a backslash has settled."""

_DOUBTFUL = re.compile(r"\s*(?:`|\\)")
_PLACEHOLDER = re.compile(rf"https?://{re.escape(wire.PLACEHOLDER_HOST)}/\w+(?:/\w+)*?/\d+(?![\w/])")
_LINK = re.compile(r"[\w:/.]+")
_LONGEST_LINK = 256
_BEGINNING = "http"
_BEGUN = ("htt", "ht", "h")
_SCHEMES = (f"http://{wire.PLACEHOLDER_HOST}/", f"https://{wire.PLACEHOLDER_HOST}/")
_HIGH_SURROGATES = ("\ud800", "\udbff")


def strip_placeholders(text: str) -> str:
    """Take out the links that stand where the site draws an attachment."""
    if wire.PLACEHOLDER_HOST not in text:
        return text
    return _PLACEHOLDER.sub("", text)


class Delta:
    """One text's snapshots in, its additions out; their concatenation is the last snapshot."""

    def __init__(self) -> None:
        """Start with nothing sent."""
        self._settled = ""

    def push(self, snapshot: str) -> str:
        """Take a snapshot; return what can be sent of what is new, perhaps nothing."""
        if not (self.behind(snapshot) and self.extended_by(snapshot)):
            return ""  # nothing new, or a flicker before the window: a later snapshot says what is true
        return self._advance(snapshot, self._safe_end(snapshot))

    def extended_by(self, snapshot: str) -> bool:
        """Say whether a snapshot agrees with all that was sent."""
        return snapshot.startswith(self._settled)

    def behind(self, snapshot: str) -> bool:
        """Say whether a snapshot has more than was sent."""
        return len(snapshot) > len(self._settled)

    def flush(self, snapshot: str) -> str:
        """Take a snapshot whose end will not flicker; return all of it that was not sent yet."""
        return self._advance(snapshot, len(snapshot)) if self.extended_by(snapshot) else ""

    def _advance(self, snapshot: str, end: int) -> str:
        start = len(self._settled)
        if end <= start:
            return ""
        self._settled = snapshot[:end]
        return strip_placeholders(snapshot[start:end])

    def _safe_end(self, snapshot: str) -> int:
        start = len(self._settled)
        end = len(snapshot)
        doubtful = _DOUBTFUL.search(snapshot, max(start, end - _WINDOW))
        if doubtful:
            end = doubtful.start()
        end = _before_link(snapshot, start, end)
        if end > start and _HIGH_SURROGATES[0] <= snapshot[end - 1] <= _HIGH_SURROGATES[1]:
            end -= 1
        return end


def _before_link(snapshot: str, start: int, end: int) -> int:
    """Move `end` before a trailing piece of text that may grow into a placeholder link."""
    floor = max(start, end - _LONGEST_LINK)
    place = snapshot.find(_BEGINNING, floor, end)
    while place >= 0:
        rest = snapshot[place:end]
        fits = any(rest.startswith(scheme) or scheme.startswith(rest) for scheme in _SCHEMES)
        if fits and _LINK.fullmatch(rest):
            return place
        place = snapshot.find(_BEGINNING, place + 1, end)
    for begun in _BEGUN:
        if snapshot.endswith(begun, floor, end):
            return end - len(begun)
    return end
