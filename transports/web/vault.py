"""Where one account's cookies are kept: the operator's export is the seed, the store holds what became of it.

A rotated value that is lost is a lost account, so it is saved before it is used, by compare-and-set on the
stored version. A changed export wins over what is stored; an unchanged one never overwrites it.
"""

from collections.abc import Iterable
from hashlib import sha256

import msgspec
import structlog

from transports.base import SessionStore
from transports.clock import Clock
from transports.web import wire
from transports.web.cookies import merge

_RETRY_SECONDS = 1.0

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

    def __init__(self, account: str, seed: dict[str, str], store: SessionStore, clock: Clock) -> None:
        """Begin with the export's cookies until `load`."""
        digest = sha256(msgspec.json.encode(sorted(seed.items()))).hexdigest()
        self._account, self._store, self._clock = account, store, clock
        self._version = self._renewals = 0
        self.saved = Saved(seed=digest, cookies=seed)

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
        found = await self._store.load(self._account)
        if found is None:
            return False
        value, self._version = found
        try:
            stored = _decode(value)
        except msgspec.MsgspecError:
            _log.error("saved_session_unreadable", account=self._account)
            return False
        if stored.seed != self.saved.seed:
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
        """Save new cookies, then use them. A rotated value is tried to be saved until it is."""
        at = self._clock.wall() if rotated else self.saved.rotated_at
        fresh = msgspec.structs.replace(self.saved, cookies=cookies, rotated_at=at)
        while True:
            try:
                if await self._save(fresh):
                    self._use(fresh)
                    return
                if not rotated:
                    await self.load()  # someone else's are newer: theirs hold
                    return
            except OSError:
                _log.warning("session_not_saved", account=self._account)
                if not rotated:
                    return
            await self._clock.sleep(_RETRY_SECONDS)

    def _use(self, saved: Saved) -> None:
        if any(saved.cookies.get(name) != self.cookies.get(name) for name in (wire.PSID, wire.PSIDTS)):
            self._renewals += 1
        self.saved = saved

    async def _save(self, fresh: Saved) -> bool:
        value = _encode(fresh)
        version = await self._store.save(self._account, value, expected=self._version)
        if version is None:
            found = await self._store.load(self._account)
            if found is not None and found[0] == value:  # a write that seemed to fail was done
                version = found[1]
            elif found is not None:
                self._version = found[1]
        if version is not None:
            self._version = version
        return version is not None
