"""Turn cumulative snapshots of a text into append-only deltas; no I/O.

The site sends the whole text in every frame; clients get only what is new. Near its end a snapshot can flicker:
a closing fence, or a backslash before a Markdown marker, is in one frame and gone in the next. Text that was sent
cannot be taken back, so the end of a snapshot is held back from the first backtick or backslash in the last `_WINDOW`
characters, until more text follows it or the answer is complete:

    push("Use `ls`")                                       -> "Use"
    push("Use `ls")                                        -> ""    the closing backtick flickered
    push("Use `ls` to list the files in the home folder.") -> " `ls` to list the files in the home folder."

The first half of a surrogate pair is held back until the second half arrives. A snapshot that does not start with the
text sent so far (the site rewrote or shortened it) adds nothing. Source: "Response".
"""

import re
from bisect import bisect_right

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
