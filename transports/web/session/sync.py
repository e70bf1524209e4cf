"""Has each account hear of what other processes have done with its session. Source: reliability 6.2."""

from collections.abc import Callable, Sequence
from typing import Protocol

from transports.base import Deps
from transports.store.port import INTENTS, SESSIONS
from transports.web.session.rotation import SessionRotation
from transports.web.session.session import Session


class Holder(Protocol):
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

    def __init__(self, deps: Deps, held: Callable[[], Sequence[Holder]]) -> None:
        """Hear from `deps.watch` once `listen` is called; `held` returns the accounts that are there."""
        self._deps, self._held = deps, held

    def listen(self) -> None:
        """Hear of it from now on."""
        self._deps.watch.on(SESSIONS, self.heed_sessions)
        self._deps.watch.on(INTENTS, self.heed_intents)

    async def heed_sessions(self) -> None:
        """Take over the sessions that are of another version than is known here.

        Raises:
            OSError: the store is out of order.

        """
        held = self._held()
        there = {record.key: record.version for record in await self._deps.store.scan(SESSIONS)} if held else {}
        for one in held:
            vault = one.session.site.vault
            if vault is None or there.get(one.session.name, 0) == vault.record:
                continue
            if await vault.load():
                await one.session.forget()

    async def heed_intents(self) -> None:
        """Tell of the rotations that have been begun, and of those that have ended.

        Raises:
            OSError: the store is out of order.

        """
        held = self._held()
        there = {record.key: record for record in await self._deps.store.scan(INTENTS)} if held else {}
        for one in held:
            record = there.get(one.session.name)
            if one.rotation is not None and record is not None:
                await one.rotation.heed(record)
