"""Remembers which saved conversations of one account belong to which turns of this process. No I/O.

A turn whose answer was lost is searched for among the saved conversations. One that another turn is known to be in is
not the one; and while another turn with the same prompt has no conversation yet, a found one may be that turn's.
"""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

_MOST = 2000
"""Conversations remembered: far more than an account begins while a turn is searched for."""


class ConversationClaims:
    """The conversations that turns are known to be in, and the prompts of turns that have none yet."""

    def __init__(self) -> None:
        """Start empty."""
        self._cids: dict[str, None] = {}
        self._unplaced: Counter[str] = Counter()

    def __contains__(self, cid: str) -> bool:
        """Return whether a turn is known to be in a conversation."""
        return cid in self._cids

    def add(self, cid: str) -> None:
        """Note the conversation of a turn."""
        self._cids.pop(cid, None)
        self._cids[cid] = None
        if len(self._cids) > _MOST:
            del self._cids[next(iter(self._cids))]

    @contextmanager
    def unplaced(self, prompt: str) -> Generator[None]:
        """Note, while the context lasts, that a turn with this prompt has no known conversation."""
        key = _key(prompt)
        self._unplaced[key] += 1
        try:
            yield
        finally:
            self._unplaced[key] -= 1
            if not self._unplaced[key]:
                del self._unplaced[key]

    def count_unplaced(self, prompt: str) -> int:
        """Return how many turns with this prompt have no known conversation; white space may differ."""
        return self._unplaced[_key(prompt)]


def _key(prompt: str) -> str:
    return " ".join(prompt.split())
