"""Calls handlers when a collection of the store changes, no matter which process changed it.

Each collection has a revision that grows with every change. The feed asks the store for all revisions once a second,
in one call, and calls the handlers of the collections whose revision differs from the one handled last. A handler
reads what it needs itself. Example: another process adds an account. The revision of `account` goes from 7 to 8; at
the next poll the handlers of `account` run, and 8 is noted as handled. If one fails, 7 stays, and all run again.
"""

from collections.abc import Awaitable, Callable

import structlog

from transports.clock import Clock
from transports.store.port import Collection, Records
from transports.tasks import every

_POLL_SECONDS = 1.0

_log = structlog.get_logger()

ChangeHandler = Callable[[], Awaitable[None]]


class ChangeFeed:
    """Polls the store's revisions, and calls the handlers of each collection that has changed."""

    def __init__(self, records: Records, clock: Clock, seconds: float = _POLL_SECONDS) -> None:
        """Poll every `seconds` while `run` runs."""
        self._records, self._clock, self._seconds = records, clock, seconds
        self._handlers: dict[str, list[ChangeHandler]] = {}
        self._handled: dict[str, int] = {}

    def subscribe(self, collection: Collection, handler: ChangeHandler) -> None:
        """Call `handler` once at first and after each change of the collection; if it fails, it is called again."""
        self._handlers.setdefault(collection.name, []).append(handler)
        self._handled.pop(collection.name, None)

    async def poll(self) -> None:
        """Poll once. An error of the store or a handler is logged, and tried again at the next poll."""
        try:
            revisions = await self._records.revisions()
        except OSError:
            _log.debug("store_poll_failed")
            return
        for collection, handlers in list(self._handlers.items()):  # a handler may add handlers
            revision = revisions.get(collection, 0)
            if self._handled.get(collection) == revision:
                continue
            try:
                for handler in handlers:
                    await handler()
                self._handled[collection] = revision
            except OSError:
                _log.warning("store_change_handler_failed", collection=collection)

    async def run(self) -> None:
        """Poll until cancelled."""
        await every(self._seconds, self.poll, self._clock)
