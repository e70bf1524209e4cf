"""Bounds the bytes of a request that the server reads only to drop them.

A client that sends its whole request before it reads the response sees that response only if the server reads on
(RFC 9112 section 9.6: a server that closes with unread bytes makes TCP reset the connection, and the reset may erase
the response at the client). A slow or endless client must not hold a connection this way: bytes, rate and time are
limited.
"""

from collections.abc import Callable

GRACE_SECONDS = 2.0
"""Time that every client has."""
_BYTES_PER_SECOND = 256 * 1024
LONGEST_SECONDS = 30.0
"""Time that a client has at most."""


class Discard:
    """Counts bytes that are read and dropped; also a timeout (`protocol.http.timers.Timeout`)."""

    def __init__(self, most: int, now: float, expire: Callable[[], None], longest: float = LONGEST_SECONDS) -> None:
        """Allow `most` bytes from `now` on, for up to `longest` seconds; call `expire` when the time is over.

        The time is two seconds, plus one for each 256 KiB received.
        """
        self._most, self._began, self._longest = most, now, longest
        self.expire = expire
        self.seen = 0
        """Bytes dropped so far."""

    def take(self, count: int) -> bool:
        """Count received bytes; return whether more are allowed."""
        self.seen += count
        return self.seen < self._most

    @property
    def due(self) -> float:
        """When the time is over."""
        return self._began + min(self._longest, GRACE_SECONDS + self.seen / _BYTES_PER_SECOND)
