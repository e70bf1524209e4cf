"""Apply other processes' session changes to the connected accounts. Source: reliability 2.2.

Theory of operation. The change feed reports that a collection has changed, not which record. `SessionSync` then lists
the records and compares each version with the one that its account read last; only accounts whose version differs load
their session again.

Example: process A rotates account one and stores version 8. Process B, whose account one has version 7, loads version 8
and drops its page and token. Account two has the same version as before, so it is not loaded.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from transports.base import Deps
from transports.store.port import INTENTS, SESSIONS
from transports.web.session.rotation import SessionRotation
from transports.web.session.session import Session


class SyncedAccount(Protocol):
    """A connected account."""

    @property
    def session(self) -> Session:
        """Its session."""
        ...

    @property
    def rotation(self) -> SessionRotation | None:
        """The rotation of its session; None for a guest."""
        ...


class SessionSync:
    """Reads the sessions and intents of all connected accounts whenever the store reports a change."""

    def __init__(self, deps: Deps, connected: Callable[[], Sequence[SyncedAccount]]) -> None:
        """Use `deps.change_feed` once `start` is called; `connected` returns the connected accounts."""
        self._deps, self._connected = deps, connected

    def start(self) -> None:
        """Subscribe to changes of sessions and intents."""
        self._deps.change_feed.subscribe(SESSIONS, self.sync_sessions)
        self._deps.change_feed.subscribe(INTENTS, self.sync_intents)

    async def sync_sessions(self) -> None:
        """Load the sessions whose stored version differs from the one known here.

        Raises:
            OSError: the store is unavailable.

        """
        connected = self._connected()
        stored = (
            {record.key: record.version for record in await self._deps.store.records.scan(SESSIONS)}
            if connected
            else {}
        )
        for one in connected:
            session_store = one.session.site.session_store
            if session_store is None or stored.get(one.session.name, 0) == session_store.record:
                continue
            if await session_store.load():
                await one.session.forget()

    async def sync_intents(self) -> None:
        """Pass each stored rotation intent to its account's rotation.

        Raises:
            OSError: the store is unavailable.

        """
        connected = self._connected()
        intents = {record.key: record for record in await self._deps.store.records.scan(INTENTS)} if connected else {}
        for one in connected:
            record = intents.get(one.session.name)
            if one.rotation is not None and record is not None:
                await one.rotation.note_intent(record)
