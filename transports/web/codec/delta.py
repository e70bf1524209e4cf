"""Turns cumulative snapshots of a text into append-only deltas; no I/O.

Near its end a snapshot can flicker: a closing fence, or a backslash before a Markdown marker, stands in one
frame and is gone in the next. What was sent cannot be taken back, so what may flicker waits until text behind it
has settled it, or the answer is complete. Half of a surrogate pair waits for the other half. A snapshot that departs
from what was sent, since the site has rewritten or shortened the text, adds nothing. Source: "Response".
"""

import re
from bisect import bisect_right

_WINDOW = 32
"""How near to the end is near: beyond so many characters a fence or a backslash has settled."""

_DOUBTFUL = re.compile(r"\s*(?:`|\\)")
_HIGH_SURROGATES = ("\ud800", "\udbff")


class TextDelta:
    """One text's snapshots in, its additions out; their concatenation is the last snapshot, unless that departs."""

    def __init__(self) -> None:
        """Start with nothing sent."""
        self._settled = ""

    def push(self, snapshot: str) -> str:
        """Take a snapshot; return what can be sent of what is new, perhaps nothing."""
        settled, end = self._settled, len(snapshot)
        start = len(settled)
        if end <= start or not snapshot.startswith(settled):
            return ""  # nothing new, or a flicker before the window: a later snapshot says what is true
        doubtful = _DOUBTFUL.search(snapshot, max(start, end - _WINDOW))
        if doubtful:
            end = doubtful.start()
        if end > start and _HIGH_SURROGATES[0] <= snapshot[end - 1] <= _HIGH_SURROGATES[1]:
            end -= 1
        self._settled = snapshot[:end]
        return snapshot[start:end]

    def extended_by(self, snapshot: str) -> bool:
        """Say whether a snapshot agrees with all that was sent."""
        return snapshot.startswith(self._settled)

    def common(self, snapshot: str) -> int:
        """Return how many characters of a snapshot agree with what was sent."""
        sizes = range(1, min(len(snapshot), len(self._settled)) + 1)
        return bisect_right(sizes, False, key=lambda size: not self._settled.startswith(snapshot[:size]))

    def behind(self, snapshot: str) -> bool:
        """Say whether a snapshot has more than was sent."""
        return len(snapshot) > len(self._settled)

    def flush(self, snapshot: str) -> str:
        """Take a snapshot whose end will not flicker; return all of it that was not sent yet."""
        start = len(self._settled)
        if len(snapshot) <= start or not self.extended_by(snapshot):
            return ""
        self._settled = snapshot
        return snapshot[start:]
