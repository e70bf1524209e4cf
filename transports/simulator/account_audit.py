"""Counts what was done with one account, so that a test can judge a gateway by it. The counts are not secret."""

from collections.abc import Generator
from contextlib import contextmanager


class Gauge:
    """A number of operations in progress, and its maximum."""

    def __init__(self) -> None:
        """Start at zero."""
        self.now = 0
        self.most = 0
        """The maximum."""

    @contextmanager
    def hold(self) -> Generator[None]:
        """Count one operation for as long as the context lasts."""
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            yield
        finally:
            self.now -= 1


class AccountAudit:
    """The counts of one account."""

    def __init__(self) -> None:
        """Start with no counts."""
        self.rotating, self.generating = Gauge(), Gauge()
        self.rotations = 0
        """Rotations that were answered 200."""
        self.hasty = 0
        """Rotations that came too soon after the last, and were answered 429."""
        self.forks = 0
        """Rotations that sent a value which had been rotated already."""
        self.refused = 0
        """Rotations that were answered 401."""
        self.signed_in = 0
        """Requests that were answered as the account's own."""
        self.as_guest = 0
        """Requests that named the account and were answered as a guest's, because their rolling cookie had expired."""
        self.unseen = False
        """Whether the newest value has not been used yet: if it was lost, the session ends with the grace time."""

    def shown(self) -> dict[str, int | bool]:
        """Return the counts for `/simulator/state`."""
        return {
            "rotations": self.rotations,
            "rotating": self.rotating.now,
            "most_rotating": self.rotating.most,
            "hasty": self.hasty,
            "forks": self.forks,
            "refused": self.refused,
            "generating": self.generating.now,
            "most_generating": self.generating.most,
            "signed_in": self.signed_in,
            "as_guest": self.as_guest,
            "unseen": self.unseen,
        }
