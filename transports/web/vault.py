"""Where one account's cookies are kept: the operator's export is the seed, the store holds what became of it.

A rotated value that is lost is a lost account, so it is saved before it is used, by compare-and-set on the
stored version; where that takes too long it is used all the same, and saved once the store works again. What another
process has rotated since holds. A changed export wins over what is stored; an unchanged one never overwrites it.
"""

from collections.abc import Iterable
from hashlib import sha256

import msgspec
import structlog

from transports.clock import Clock
from transports.store import Store
from transports.store.port import SESSIONS
from transports.web import wire
from transports.web.cookies import merge

_RETRY_SECONDS = 1.0
_SAVE_SECONDS = 20.0
"""So long a rotated value is not used before it is saved: who rotates waits for it, and so does the process's end."""

_log = structlog.get_logger()


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """An account's session, as the store holds it."""

    seed: str
    """SHA-256 of the export that it began with."""
    cookies: dict[str, str]
    rotated_at: float = 0.0
    """Epoch seconds."""

    def __repr__(self) -> str:
        """Show no cookie."""
        return f"Saved(rotated_at={self.rotated_at!r})"


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Saved).decode


class Vault:
    """One account's saved session; the only place that reads or writes it."""

    def __init__(self, account: str, seed: dict[str, str], store: Store, clock: Clock) -> None:
        """Begin with the export's cookies until `load`."""
        digest = sha256(msgspec.json.encode(sorted(seed.items()))).hexdigest()
        self._account, self._store, self._clock = account, store, clock
        self._version = self._renewals = 0
        self.saved = Saved(seed=digest, cookies=seed)
        self._unsaved: Saved | None = None
        """A rotated value that is used and not saved."""

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies to send."""
        return self.saved.cookies

    @property
    def version(self) -> int:
        """The stored version that the cookies are of; 0: nothing is stored."""
        return self._version

    @property
    def renewals(self) -> int:
        """How often the cookies that sign in have changed."""
        return self._renewals

    async def load(self) -> bool:
        """Take over what is stored, if it began with this export; say whether that changed the cookies.

        Raises:
            OSError: the store is out of order.

        """
        if self._unsaved is not None:
            return await self._save_late(self._unsaved)
        found = await self._store.get(SESSIONS, self._account)
        if found is None:
            return False
        self._version = found.version
        stored = self._read(found.value)
        if stored is None:
            return False
        changed = stored.cookies != self.saved.cookies
        self._use(stored)
        return changed

    async def take(self, set_cookies: Iterable[str], *, since: int) -> None:
        """Merge what an answer sets, unless the session has become another since its request was sent."""
        fresh = merge(self.cookies, set_cookies)
        if self._version == since and fresh != self.cookies:
            await self.replace(fresh)

    async def replace(self, cookies: dict[str, str], *, rotated: bool = False) -> None:
        """Save new cookies, then use them. A rotated value is tried to be saved for a while, and used in any case."""
        if rotated:
            fresh = msgspec.structs.replace(self.saved, cookies=cookies, rotated_at=self._clock.wall())
            await self._replace_rotated(fresh)
            return
        fresh = msgspec.structs.replace(self.saved, cookies=cookies)
        try:
            if await self._save(fresh):
                self._use(fresh)
            else:
                await self.load()  # someone else's are newer: theirs hold
        except OSError:
            _log.warning("session_not_saved", account=self._account)

    async def _replace_rotated(self, fresh: Saved) -> None:
        until = self._clock.monotonic() + _SAVE_SECONDS
        while self._clock.monotonic() < until:
            try:
                if await self._save_rotated(fresh):
                    return
            except OSError:
                _log.warning("session_not_saved", account=self._account)
            await self._clock.sleep(_RETRY_SECONDS)
        _log.error("rotated_session_not_saved", account=self._account)
        self._use(fresh)
        self._unsaved = fresh

    async def _save_rotated(self, fresh: Saved) -> bool:
        """Save and use a rotated value, or use what another process has rotated since; False: try again."""
        if await self._save(fresh):
            self._use(fresh)
            return True
        found = await self._store.get(SESSIONS, self._account)
        stored = self._read(found.value) if found is not None else None
        if found is None or stored is None or stored.rotated_at <= fresh.rotated_at:
            return False
        self._version = found.version
        self._use(stored)
        return True

    async def _save_late(self, fresh: Saved) -> bool:
        """Save what could not be saved; say whether another process's value holds now."""
        before = self.cookies
        if await self._save_rotated(fresh) or await self._save_rotated(fresh):
            _log.info("rotated_session_saved", account=self._account)
        return self.cookies != before

    def _read(self, value: bytes) -> Saved | None:
        """Return what is stored, if it began with this export."""
        try:
            stored = _decode(value)
        except msgspec.MsgspecError:
            _log.error("saved_session_unreadable", account=self._account)
            return None
        return stored if stored.seed == self.saved.seed else None

    def _use(self, saved: Saved) -> None:
        if any(saved.cookies.get(name) != self.cookies.get(name) for name in (wire.PSID, wire.PSIDTS)):
            self._renewals += 1
        self.saved, self._unsaved = saved, None

    async def _save(self, fresh: Saved) -> bool:
        value = _encode(fresh)
        version = await self._store.put(SESSIONS, self._account, value, expected=self._version)
        if version is None:
            found = await self._store.get(SESSIONS, self._account)
            if found is not None and found.value == value:  # a write that seemed to fail was done
                version = found.version
            else:
                self._version = found.version if found is not None else 0
        if version is not None:
            self._version = version
        return version is not None
