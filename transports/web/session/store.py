"""Where one account's cookies are kept: the operator's export is the seed, the store holds what became of it.

A rotated value that is lost is a lost account. So it goes to this machine's own copy first, then into the store by
compare-and-set, then it is used; where the store takes too long it is used all the same, and offered for as long as the
process lives. What is newer holds, whoever has it: a store that has forgotten is told again. A changed export wins over
what is stored; an unchanged or an earlier one never does. Source: reliability 6.1. Source: reliability 6.2
"""

import math
from collections.abc import Iterable
from contextlib import suppress

import anyio
import structlog
from msgspec import MsgspecError
from msgspec.structs import replace

from transports.clock import Clock
from transports.store import Store
from transports.store.port import SESSIONS, Record, StoreDown
from transports.web.session.cookies import merge
from transports.web.session.record import (
    SessionRecord,
    decode,
    encode,
    from_export,
    includes_export,
    newer,
    resolve,
    restart_from_export,
    same_credentials,
)

_RETRY_SECONDS = 1.0
_SAVE_SECONDS = 20.0
"""So long a rotated value is not used before it is saved."""
_REFRESH_SECONDS = 60.0
"""Cookies of no weight are saved at most so often, and what is known of the store is read anew when it is so old."""
_TRIES = 16

_log = structlog.get_logger()


class SessionStore:
    """One account's saved session; the only place that reads or writes it."""

    def __init__(
        self, account: str, seed: dict[str, str], store: Store, clock: Clock, copy: Store | None = None
    ) -> None:
        """Begin with the export's cookies until `load`; `copy` is this machine's own, beside a store of several."""
        self._account, self._store, self._clock, self._copy = account, store, clock, copy
        self._seed = self.saved = from_export(seed)
        self._unsaved: SessionRecord | None = None
        """The newest value, if nobody knows that the store has it."""
        self._copied: SessionRecord | None = None
        self._copy_loaded = copy is None
        self._noted: dict[str, str] | None = None
        """The cookies as ordinary answers have set them since they were last saved."""
        self._noted_saved_at: float | None = None
        self._save_planned = self.weak = False
        """`weak`: the store cannot say that the value that was put there last would survive its server."""
        self._version = self._renewals = 0
        self._looked_at: float | None = None
        self._lock = anyio.Lock()
        self.wanted = anyio.Event()
        """Set when there is something to save."""

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies to send."""
        return self.saved.cookies

    @property
    def version(self) -> int:
        """Grows whenever what signs in is renewed: what an answer sets is of the one that its request was sent with."""
        return self.saved.turn

    @property
    def record(self) -> int:
        """The version of the store's record as it was last seen."""
        return self._version

    @property
    def renewals(self) -> int:
        """How often the cookies that sign in have changed."""
        return self._renewals

    @property
    def unsaved(self) -> bool:
        """Whether the newest value is not in the store, as far as is known."""
        return self._unsaved is not None

    async def load(self) -> bool:
        """Bring what is stored and what is known here together; say whether that changed the cookies.

        Raises:
            OSError: the store is out of order; this machine's own copy has been looked at all the same.

        """
        async with self._lock:
            before = self.cookies
            await self._load_copy()
            await self._sync()
            return self.cookies != before

    async def load_if_old(self) -> bool:
        """Do the same if the last look is old, for the first of many at once; an error of the store's is logged."""
        now = self._clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < _REFRESH_SECONDS:
            return False
        self._looked_at = now
        try:
            return await self.load()
        except OSError:
            _log.warning("session_not_loaded", account=self._account)
            return False

    async def merge_cookies(self, set_cookies: Iterable[str], *, since: int) -> None:
        """Merge what an answer sets, unless the session has been renewed since its request was sent."""
        self.note_cookies(set_cookies, since=since)
        await self.save_noted()

    def note_cookies(self, set_cookies: Iterable[str], *, since: int) -> float | None:
        """Note what an answer sets; return in how many seconds `save_noted` is to be called, None: not for that."""
        if since != self.version or self._has_unused_value:
            return None
        before = self._noted or self.cookies
        fresh = merge(before, set_cookies)
        if fresh == before:
            return None
        self._noted = fresh
        if not same_credentials(fresh, before):
            return 0.0
        if self._save_planned:
            return None
        self._save_planned = True
        passed = _REFRESH_SECONDS if self._noted_saved_at is None else self._clock.monotonic() - self._noted_saved_at
        return max(0.0, _REFRESH_SECONDS - passed)

    async def save_noted(self) -> None:
        """Save what was heard, then use it; a rolling cookie is never dropped, whatever the store or a caller does."""
        with anyio.CancelScope(shield=True):
            async with self._lock:
                await self._save_noted()

    async def _save_noted(self) -> None:
        heard, self._noted, self._save_planned = self._noted, None, False
        rolling = heard is not None and not same_credentials(heard, self.cookies)
        if heard is None or self._has_unused_value or (self.unsaved and not rolling):
            return
        self._noted_saved_at = self._clock.monotonic()
        fresh = self._next(heard)
        if rolling:
            fresh = replace(fresh, turn=fresh.turn + 1, rotated_at=await self._store_time())
            self.wanted.set()
            await self._keep_copy(fresh)
        self._unsaved = fresh
        try:
            await self._sync()
        except OSError:
            _log.warning("session_not_saved", account=self._account)
            self._use(newer(fresh, self.saved) if rolling else self.saved)
        if self._unsaved is fresh and not rolling:
            self._unsaved = None  # it has no weight

    async def renew(
        self, sent: SessionRecord, set_cookies: Iterable[str], *, at: float, by: str, interval: float | None = None
    ) -> bool:
        """Keep what a rotation of `sent`, begun at `at`, has given, then use it; say whether the store has it.

        It is tried for a while; from then on the value is used, and `flush` keeps trying. `interval` is when the
        site wants the next rotation, in seconds: infinity means never, None that it did not say.
        """
        cookies = merge(self.cookies if self.saved.gen == sent.gen else sent.cookies, set_cookies)
        fresh = replace(sent, cookies=cookies, gen=max(1, sent.gen), turn=sent.turn + 1, rotated_at=at, by=by)
        fresh = replace(fresh, ver=max(sent.ver, self.saved.ver) + 1, never=interval == math.inf)
        fresh = replace(fresh, interval=0.0 if interval is None or fresh.never else interval)
        self._unsaved = newer(fresh, self._unsaved) if self._unsaved is not None else fresh
        self.wanted.set()
        await self._keep_copy(fresh)
        if await self.save(_SAVE_SECONDS):
            return True
        _log.error("rotated_session_not_saved", account=self._account)
        self._use(newer(fresh, self.saved))
        return False

    async def mark_never_rotated(self, sent: SessionRecord) -> None:
        """Note that the site never rotates the session of `sent`; where the store is down, this process knows it."""
        async with self._lock:
            if self.saved.gen != sent.gen or self._has_unused_value:
                return
            fresh = replace(self._next(self.cookies), never=True)
            self._unsaved = fresh
            try:
                await self._sync()
            except OSError:
                _log.warning("session_not_saved", account=self._account)
                self._use(fresh)

    async def save(self, seconds: float) -> bool:
        """Offer the store what it has not got, for so long; say whether it has it."""
        until = self._clock.monotonic() + seconds
        while self.unsaved:
            try:
                await self.load()
            except OSError:
                _log.debug("session_not_saved", account=self._account)
                if self._clock.monotonic() >= until:
                    return False
                await self._clock.sleep(_RETRY_SECONDS)
        return True

    @property
    def _has_unused_value(self) -> bool:
        """Whether there is a newer value than the one in use, that is not used before it is saved."""
        return self._unsaved is not None and self._unsaved.turn > self.saved.turn

    async def _sync(self) -> None:
        """Put what is newer here into the store, or use what is newer there."""
        for _ in range(_TRIES):
            found = await self._store.get(SESSIONS, self._account)
            self._looked_at = self._clock.monotonic()
            self._version = found.version if found is not None else 0
            stored = self._read(found)
            fresh = self._for_store(stored, damaged=found is not None and stored is None)
            if fresh is None:
                if stored is not None:
                    await self._keep_copy(stored)
                    self._use_stored(stored)
                return
            await self._keep_copy(fresh)
            version = await self._store.put(SESSIONS, self._account, encode(fresh), expected=self._version)
            if version is not None:
                self._version = version
                if fresh.turn != self.saved.turn:
                    await self._settle()
                self._use_stored(fresh)
                return
        raise StoreDown("the session is changed by somebody else all the time")

    async def _settle(self) -> None:
        self.weak = True
        with suppress(OSError):
            self.weak = not await self._store.settle()

    def _for_store(self, stored: SessionRecord | None, *, damaged: bool = False) -> SessionRecord | None:
        """Return what is to be put in the place of what is stored; None: that holds."""
        mine = newer(self._unsaved, self.saved) if self._unsaved is not None else self.saved
        if stored is None:
            return None if mine.gen == 0 or (damaged and not self.unsaved) else mine
        return resolve(mine, self._seed, stored)

    async def _store_time(self) -> float:
        try:
            return await self._store.now()
        except OSError:
            return self.saved.rotated_at

    async def _load_copy(self) -> None:
        """Take over this machine's own copy, once."""
        if self._copy_loaded or self._copy is None:
            return
        try:
            copied = self._read(await self._copy.get(SESSIONS, self._account))
        except OSError:
            _log.error("session_copy_unreadable", account=self._account)
            return
        self._copy_loaded = True
        if copied is None:
            return
        self._copied = copied
        if not includes_export(copied, self._seed):
            self._use(newer(restart_from_export(self._seed, copied), self.saved))
        elif copied.order > self.saved.order:
            self._use(copied)

    async def _keep_copy(self, saved: SessionRecord) -> None:
        """Have this machine's own copy be no older than this; where it cannot be kept, the store has to do."""
        if self._copy is None or (self._copied is not None and self._copied.order >= saved.order):
            return
        try:
            found = await self._copy.get(SESSIONS, self._account)
            there = self._read(found)
            if there is None or there.order < saved.order:
                version = found.version if found is not None else 0
                if await self._copy.put(SESSIONS, self._account, encode(saved), expected=version) is None:
                    return  # another process of this machine is at it: next time
            self._copied = saved
        except OSError:
            _log.error("session_not_copied", account=self._account)

    def _next(self, cookies: dict[str, str]) -> SessionRecord:
        return replace(self.saved, cookies=cookies, gen=max(1, self.saved.gen), ver=self.saved.ver + 1)

    def _read(self, found: Record | None) -> SessionRecord | None:
        if found is None:
            return None
        try:
            return decode(found.value)
        except MsgspecError:
            _log.error("saved_session_unreadable", account=self._account)
            return None

    def _use(self, saved: SessionRecord) -> None:
        if not same_credentials(saved.cookies, self.cookies):
            self._renewals += 1
        if saved.turn != self.saved.turn or saved.gen != self.saved.gen:
            self._noted = None
        self.saved = saved

    def _use_stored(self, saved: SessionRecord) -> None:
        self._use(saved)
        if self._unsaved is not None and self._unsaved.order <= saved.order:
            self._unsaved = None
