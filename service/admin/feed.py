"""The changes of accounts that this process has made or heard of, kept for a while and told to who follows them."""

import secrets
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import msgspec

from protocol.model import Saturated
from transports.observer import Change

_KEPT = 1000
_FOLLOWERS = 32
_RETRY_SECONDS = 5.0


class FeedEvent(msgspec.Struct, frozen=True):
    """A change, and what it is called in the feed."""

    id: str
    change: Change


class Feed:
    """Hears of changes; a bounded number of them can be read again."""

    def __init__(self, kept: int = _KEPT, followers: int = _FOLLOWERS) -> None:
        """Keep so many changes, for so many followers at once."""
        self._changes: deque[Change] = deque(maxlen=kept)
        self._max_followers, self._followers = followers, 0
        self._epoch = secrets.token_hex(4)
        """Another word in each process: no two count alike."""
        self._count = 0
        self._published = anyio.Event()

    def publish(self, change: Change) -> None:
        """Take a change."""
        self._changes.append(change)
        self._count += 1
        news, self._published = self._published, anyio.Event()
        news.set()

    @contextmanager
    def follow(self, last: str | None = None) -> Generator["Follower"]:
        """Follow it for as long as the context lasts: from behind the id `last`, or from now on.

        Raises:
            Saturated: as many follow it as may.

        """
        if self._followers >= self._max_followers:
            raise Saturated("The feed has as many followers as it takes.", retry_after=_RETRY_SECONDS)
        self._followers += 1
        try:
            yield Follower(self, self._known_count(last))
        finally:
            self._followers -= 1

    def event_id(self, count: int) -> str:
        """Return the id of the change that was the `count`-th."""
        return f"{self._epoch}-{count}"

    @property
    def count(self) -> int:
        """How many changes there have been."""
        return self._count

    def since(self, count: int) -> list[FeedEvent] | None:
        """Return the changes after the first `count`; None: some of them are not kept any more."""
        first = self._count - len(self._changes)
        if count < first:
            return None
        kept = list(self._changes)[count - first :]
        return [FeedEvent(self.event_id(count + number), change) for number, change in enumerate(kept, 1)]

    async def wait(self, count: int) -> None:
        """Return when there are more than `count` changes."""
        while self._count <= count:
            await self._published.wait()

    def _known_count(self, last: str | None) -> int | None:
        """Return how many changes a follower knows; None: it asks for some that are not known here."""
        if not last:
            return self._count
        epoch, _, number = last.rpartition("-")
        if epoch != self._epoch or not number.isascii() or not number.isdigit() or len(number) > 18:
            return None
        known = int(number)
        return known if known <= self._count and self.since(known) is not None else None


class Follower:
    """Who follows a feed."""

    def __init__(self, feed: Feed, known: int | None) -> None:
        """Know so many changes already; None: what was asked for cannot be had."""
        self._feed = feed
        self.lost = known is None
        """What it knows last is not known here: it begins anew."""
        self._known = feed.count if known is None else known

    @property
    def at(self) -> str:
        """The id of the last change that it knows."""
        return self._feed.event_id(self._known)

    async def next(self, seconds: float) -> list[FeedEvent] | None:
        """Return the changes that come next, none where there are none for so long.

        None: it has read so slowly that some are not kept any more.
        """
        with anyio.move_on_after(seconds):
            await self._feed.wait(self._known)
        heard = self._feed.since(self._known)
        self._known += len(heard or ())
        return heard
