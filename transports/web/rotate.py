"""Renews one account's rolling cookie, as its only writer. Source: "Session", step 2."""

import random
import uuid

import anyio
import structlog

from protocol.model import GatewayError, SignedOut
from transports.clock import Clock
from transports.store import Store
from transports.web import cookies, wire
from transports.web.client import answer_error
from transports.web.session import Session
from transports.web.vault import Vault

_JITTER = 0.1
_SOON_SECONDS = 60.0
"""The wait before another try, and before the first where nobody knows how old the value is."""
_LOOK_SECONDS = 5.0
"""The wait for another writer to be done."""
_WRITER_SECONDS = 60.0
"""Longer than two calls, and the saving after them, may take."""
_FRESH = 0.5
"""A value younger than this part of the interval needs no rotation: someone else has just done it."""

_log = structlog.get_logger()


class Rotation:
    """Keeps one session alive."""

    def __init__(self, session: Session, vault: Vault, store: Store, clock: Clock) -> None:
        """Prepare; `run` does it."""
        self._session, self._vault, self._store, self._clock = session, vault, store, clock
        self._seconds = session.site.config.rotate_seconds
        self._soon = min(_SOON_SECONDS, self._seconds)
        self._dead = False

    async def run(self) -> None:
        """Rotate whenever it is due, for as long as the session lives."""
        delay = self._due()
        while self._seconds:
            await self._clock.sleep(delay)
            delay = await self._turn()

    async def once(self) -> bool:
        """Rotate now, unless it has just been done; False where another writer is at it.

        Raises:
            SignedOut: the session is dead; a person must export it anew.
            GatewayError: it did not work this time.
            OSError: the store is out of order.

        """
        name, owner = self._session.name, uuid.uuid4().hex
        if await self._store.acquire(f"rotate/{name}", owner, _WRITER_SECONDS) is None:
            return False
        try:
            await self._rotate()
        finally:
            with anyio.CancelScope(shield=True):
                await self._store.release(f"rotate/{name}", owner)
        return True

    async def _turn(self) -> float:
        """Rotate; return the seconds to the next turn."""
        name = self._session.name
        try:
            done = await self.once()
        except SignedOut as error:
            if not self._dead:
                _log.error("account_needs_a_person", account=name, reason=error.reason)
            self._dead = True
            await self._session.forget()
            return _spread(self._seconds)
        except (GatewayError, OSError) as error:
            _log.warning("rotation_failed", account=name, error=type(error).__name__)
            return self._soon * random.uniform(1, 1 + _JITTER)  # noqa: S311 -- spreads load, hides nothing
        if not done:
            return min(_LOOK_SECONDS, self._seconds)
        if self._dead:
            _log.info("account_works_again", account=name)
        self._dead = False
        return self._due()

    def _due(self) -> float:
        """Return the seconds until the value, as old as it is, needs a rotation."""
        age = self._clock.wall() - self._vault.saved.rotated_at
        return _spread(min(self._seconds, max(self._soon, self._seconds - age)))

    async def _rotate(self) -> None:
        if await self._vault.load():
            await self._session.forget()
        if 0 <= self._clock.wall() - self._vault.saved.rotated_at < _FRESH * self._seconds:
            return
        with anyio.CancelScope(shield=True):  # the site may answer with a new value: it is taken, come what may
            await self._renew()

    async def _renew(self) -> None:
        vault, config = self._vault, self._session.site.config
        for last in (False, True):
            status, headers, _ = await self._session.site.call(
                "POST",
                config.hosts.accounts + wire.ROTATE_PATH,
                {"Content-Type": wire.ROTATE_CONTENT_TYPE},
                data=wire.ROTATE_BODY,
                only=(wire.PSID, wire.PSIDTS),
            )
            if status == 200:
                await self._take(cookies.merge(vault.cookies, headers.getall("Set-Cookie", [])))
                return
            if status != 401 or last or not await vault.load():
                raise answer_error(status, headers)

    async def _take(self, fresh: dict[str, str]) -> None:
        """Use what a rotation gave; that no new value came is usual, and the old one stays."""
        changed = fresh.get(wire.PSIDTS) != self._vault.cookies.get(wire.PSIDTS)
        await self._vault.replace(fresh, rotated=True)
        _log.info("session_rotated", account=self._session.name, new_value=changed)
        await self._session.forget()


def _spread(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 -- spreads load, hides nothing
