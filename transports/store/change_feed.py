"""Tells who wants to know that something in the store has changed, whoever changed it."""

from collections.abc import Awaitable, Callable

import structlog

from transports.clock import Clock
from transports.store.port import Collection, Store

_LOOK_SECONDS = 1.0

_log = structlog.get_logger()

Heed = Callable[[], Awaitable[None]]


class ChangeFeed:
    """Looks at the store's revisions, and calls those who wait for a collection to change."""

    def __init__(self, store: Store, clock: Clock, seconds: float = _LOOK_SECONDS) -> None:
        """Look every so many seconds, once `run` runs."""
        self._store, self._clock, self._seconds = store, clock, seconds
        self._heeds: dict[str, list[Heed]] = {}
        self._seen: dict[str, int] = {}

    def on(self, collection: Collection, heed: Heed) -> None:
        """Call `heed` after each change of the collection, and once at first; one that fails is called again."""
        self._heeds.setdefault(collection.name, []).append(heed)
        self._seen.pop(collection.name, None)

    async def look(self) -> None:
        """Look now; an error of the store's, or of one who is called, is logged, and looked at again."""
        try:
            revisions = await self._store.revisions()
        except OSError:
            _log.debug("store_not_watched")
            return
        for collection, heeds in list(self._heeds.items()):  # one who is called may bring others to call
            revision = revisions.get(collection, 0)
            if self._seen.get(collection) == revision:
                continue
            try:
                for heed in heeds:
                    await heed()
                self._seen[collection] = revision
            except OSError:
                _log.warning("store_change_not_heeded", collection=collection)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await self._clock.sleep(self._seconds)
