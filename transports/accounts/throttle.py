"""Client-side throttling: sends fewer requests to an upstream that fails. No I/O. Source: reliability 6.6."""

from collections import deque

_LONG_SECONDS = 120.0
_LONG_SLOT = 5.0
_SHORT_SECONDS = 5.0
_SHORT_SLOT = 0.5
_FREE = 5
"""Requests that always pass within a window: they notice the recovery."""


class _Window:
    """Counts of requests and of accepted requests within a sliding window."""

    def __init__(self, seconds: float, slot: float) -> None:
        self._slot, self._slots = slot, round(seconds / slot)
        self._counts: deque[list[int]] = deque()
        self.requests = self.accepts = self.failures = 0

    def add(self, now: float, requests: int, accepts: int, failures: int) -> None:
        slot = int(now / self._slot)
        counts = self._counts
        if not counts or counts[-1][0] != slot:
            counts.append([slot, 0, 0, 0])
            self._forget(slot)
        last = counts[-1]
        last[1] += requests
        last[2] += accepts
        last[3] += failures
        self.requests += requests
        self.accepts += accepts
        self.failures += failures

    def _forget(self, slot: int) -> None:
        while self._counts[0][0] <= slot - self._slots:
            _, requests, accepts, failures = self._counts.popleft()
            self.requests -= requests
            self.accepts -= accepts
            self.failures -= failures

    def excess(self, ratio: float) -> float:
        """Return the share of requests that exceeds `ratio` times the accepted ones."""
        requests = max(0, self.requests)  # one may be withdrawn when its own time is over already
        return max(0.0, (requests - _FREE - ratio * self.accepts) / (requests + 1))


class Throttle:
    """Limits requests to `ratio` times the accepted ones, and a few more, while an upstream fails.

    Two windows decide: one of two minutes, so that a short failure does not count, and one of a few seconds, so that
    the recovery is noticed soon. Requests are counted before they are sent, but they are limited only while more fail
    than are accepted, because many start before a slow upstream has answered the first.
    """

    def __init__(self, ratio: float) -> None:
        """Start without requests; a ratio of 0 never throttles."""
        self._ratio = ratio
        self._long, self._short = _Window(_LONG_SECONDS, _LONG_SLOT), _Window(_SHORT_SECONDS, _SHORT_SLOT)

    def admit(self, now: float, draw: float) -> bool:
        """Count a request and return whether it may be sent; `draw` is a random number from 0 to 1."""
        self._add(now, requests=1)
        far = self._long
        if not self._ratio or far.failures <= max(_FREE, (self._ratio - 1.0) * far.accepts):
            return True
        return draw >= min(self._long.excess(self._ratio), self._short.excess(self._ratio))

    def accept(self, now: float) -> None:
        """Count a request that the upstream accepted: its first event has arrived."""
        self._add(now, accepts=1)

    def fail(self, now: float) -> None:
        """Count a request that failed before its first event."""
        self._add(now, failures=1)

    def withdraw(self, now: float) -> None:
        """Remove a request that says nothing about the upstream's health."""
        self._add(now, requests=-1)

    def _add(self, now: float, *, requests: int = 0, accepts: int = 0, failures: int = 0) -> None:
        self._long.add(now, requests, accepts, failures)
        self._short.add(now, requests, accepts, failures)
