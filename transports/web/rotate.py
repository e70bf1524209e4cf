"""Renews one account's rolling cookie, as its only writer. Source: "Session", step 2."""

import random
import uuid

import anyio
import structlog

from protocol.model import GatewayError, SignedOut
from transports.base import SessionStore
from transports.clock import Clock
from transports.web import cookies, wire
from transports.web.client import answer_error
from transports.web.session import Session
from transports.web.vault import Vault

_JITTER = 0.1
_SOON_SECONDS = 60.0
"""The wait before another try, and before the first where nobody knows how old the value is."""
_WRITER_SECONDS = 45.0
_FRESH = 0.5
"""A value younger than this part of the interval needs no rotation: someone else has just done it."""

_log = structlog.get_logger()


class Rotation:
    """Keeps one session alive."""

    def __init__(self, session: Session, vault: Vault, store: SessionStore, clock: Clock) -> None:
        """Prepare; `run` does it."""
        self._session, self._vault, self._store, self._clock = session, vault, store, clock

    async def run(self) -> None:
        """Rotate whenever it is due, for as long as the session lives."""
        seconds = self._session.site.config.rotate_seconds
        soon = min(_SOON_SECONDS, seconds)
        age = self._clock.wall() - self._vault.saved.rotated_at
        delay = min(seconds, max(soon, seconds - age))
        while seconds:
            jitter = 1 + random.uniform(-_JITTER, _JITTER)  # noqa: S311 -- spreads load, hides nothing
            await self._clock.sleep(delay * jitter)
            delay = seconds
            try:
                await self.once()
            except SignedOut as error:
                _log.error("account_needs_a_person", account=self._session.name, reason=error.reason)
                await self._session.forget()
            except (GatewayError, OSError) as error:
                delay = soon
                _log.warning("rotation_failed", account=self._session.name, error=type(error).__name__)

    async def once(self) -> None:
        """Rotate now, unless another writer is at it or has just done it.

        Raises:
            SignedOut: the session is dead; a person must export it anew.
            GatewayError: it did not work this time.
            OSError: the store is out of order.

        """
        name, owner = self._session.name, uuid.uuid4().hex
        if not await self._store.acquire(name, owner, _WRITER_SECONDS):
            return
        try:
            await self._rotate()
        finally:
            with anyio.CancelScope(shield=True):
                await self._store.release(name, owner)

    async def _rotate(self) -> None:
        vault, config = self._vault, self._session.site.config
        await vault.load()
        if self._clock.wall() - vault.saved.rotated_at < _FRESH * config.rotate_seconds:
            await self._session.forget()
            return
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
        with anyio.CancelScope(shield=True):  # from here on this process may hold the only valid copy
            await self._vault.replace(fresh, rotated=True)
        _log.info("session_rotated", account=self._session.name, new_value=changed)
        await self._session.forget()
