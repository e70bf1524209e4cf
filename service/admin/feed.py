"""A bounded buffer of recent account changes, which any number of clients up to a limit can follow.

Each event has the id `EPOCH-COUNT`. The epoch is random per process, so an id of another process is never mistaken
for one of this process: a client that reconnects elsewhere gets `lost` and reads the accounts again.
"""

import secrets
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import msgspec

from protocol.model import Saturated
from transports.observer import AccountChange

_KEPT = 1000
_FOLLOWERS = 32
_RETRY_SECONDS = 5.0


class FeedEvent(msgspec.Struct, frozen=True):
    """A change with its id in the feed."""

    id: str
    change: AccountChange


class Feed:
    """Buffer of account changes that followers wait for and read."""

    def __init__(self, kept: int = _KEPT, followers: int = _FOLLOWERS) -> None:
        """Keep at most `kept` changes and accept at most `followers` followers."""
        self._changes: deque[AccountChange] = deque(maxlen=kept)
        self._max_followers, self._followers = followers, 0
        self._epoch = secrets.token_hex(4)
        """Random per process, because each process counts its own changes."""
        self._count = 0
        self._published = anyio.Event()

    def publish(self, change: AccountChange) -> None:
        """Add a change and wake the followers."""
        self._changes.append(change)
        self._count += 1
        news, self._published = self._published, anyio.Event()
        news.set()

    @contextmanager
    def follow(self, last: str | None = None) -> Generator["Follower"]:
        """Follow the feed within the context: from after the event `last`, or from now on.

        Raises:
            Saturated: the feed has its maximum number of followers.

        """
        if self._followers >= self._max_followers:
            raise Saturated(
                "The feed has too many followers; try again later.",
                retry_after=_RETRY_SECONDS,
            )
        self._followers += 1
        try:
            yield Follower(self, self._known_count(last))
        finally:
            self._followers -= 1

    def event_id(self, count: int) -> str:
        """Return the id of the change number `count`."""
        return f"{self._epoch}-{count}"

    @property
    def count(self) -> int:
        """Number of changes published so far."""
        return self._count

    def since(self, count: int) -> list[FeedEvent] | None:
        """Return the changes after number `count`, or None if some were dropped from the buffer."""
        first = self._count - len(self._changes)
        if count < first:
            return None
        kept = list(self._changes)[count - first :]
        return [FeedEvent(self.event_id(count + number), change) for number, change in enumerate(kept, 1)]

    async def wait(self, count: int) -> None:
        """Wait until more than `count` changes are published."""
        while self._count <= count:
            await self._published.wait()

    def _known_count(self, last: str | None) -> int | None:
        """Return the number of the change with id `last`, or None if this feed cannot resume after it."""
        if not last:
            return self._count
        epoch, _, number = last.rpartition("-")
        if epoch != self._epoch or not number.isascii() or not number.isdigit() or len(number) > 18:
            return None
        known = int(number)
        return known if known <= self._count and self.since(known) is not None else None


class Follower:
    """A reader of the feed with its own position."""

    def __init__(self, feed: Feed, known: int | None) -> None:
        """Start after change number `known`; None: the requested position is lost."""
        self._feed = feed
        self.lost = known is None
        """Whether the requested position is unknown here; the follower then starts from now."""
        self._known = feed.count if known is None else known

    @property
    def at(self) -> str:
        """Id of the last change that was read."""
        return self._feed.event_id(self._known)

    async def next(self, seconds: float) -> list[FeedEvent] | None:
        """Return the next changes, or an empty list after `seconds` without one.

        None: the follower was too slow, and changes were dropped from the buffer.
        """
        with anyio.move_on_after(seconds):
            await self._feed.wait(self._known)
        events = self._feed.since(self._known)
        self._known += len(events or ())
        return events
