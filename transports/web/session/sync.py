"""Has each account hear of what other processes have done with its session. Source: reliability 6.2."""

from collections.abc import Callable, Sequence
from typing import Protocol

from transports.base import Deps
from transports.store.port import INTENTS, SESSIONS
from transports.web.session.rotation import SessionRotation
from transports.web.session.session import Session


class SyncedAccount(Protocol):
    """An account that is connected."""

    @property
    def session(self) -> Session:
        """Its session."""
        ...

    @property
    def rotation(self) -> SessionRotation | None:
        """What renews it; None: it is the guest."""
        ...


class SessionSync:
    """Looks at all accounts' sessions and intents whenever some of them have changed."""

    def __init__(self, deps: Deps, connected: Callable[[], Sequence[SyncedAccount]]) -> None:
        """Hear from `deps.watch` once `listen` is called; `held` returns the accounts that are there."""
        self._deps, self._connected = deps, connected

    def start(self) -> None:
        """Hear of it from now on."""
        self._deps.watch.on(SESSIONS, self.sync_sessions)
        self._deps.watch.on(INTENTS, self.sync_intents)

    async def sync_sessions(self) -> None:
        """Take over the sessions that are of another version than is known here.

        Raises:
            OSError: the store is out of order.

        """
        connected = self._connected()
        there = {record.key: record.version for record in await self._deps.store.scan(SESSIONS)} if connected else {}
        for one in connected:
            session_store = one.session.site.session_store
            if session_store is None or there.get(one.session.name, 0) == session_store.record:
                continue
            if await session_store.load():
                await one.session.forget()

    async def sync_intents(self) -> None:
        """Tell of the rotations that have been begun, and of those that have ended.

        Raises:
            OSError: the store is out of order.

        """
        connected = self._connected()
        there = {record.key: record for record in await self._deps.store.scan(INTENTS)} if connected else {}
        for one in connected:
            record = there.get(one.session.name)
            if one.rotation is not None and record is not None:
                await one.rotation.note_intent(record)
