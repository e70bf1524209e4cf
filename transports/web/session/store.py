"""Stores one account's cookies: the operator's export is the seed, the store holds the current value.

A rotated value that is lost costs the account. It is therefore written to this machine's local copy first, then to the
store by compare-and-set, and only then used. If the store takes too long, the value is used anyway and `flush` keeps
saving it. The newer value wins wherever it is; a store that lost writes gets them again. A changed export replaces
the stored session; an unchanged or earlier one never does.

Example: a rotation answers with ts-2. ts-2 is written to the local copy, then to the store if its version is still 7,
and then sent with requests. If the store does not answer for 20 seconds, ts-2 is sent all the same, and `flush` writes
it later. Source: reliability 2.1. Source: reliability 2.2
"""

import math
from collections.abc import Iterable
from contextlib import suppress

import anyio
import structlog
from msgspec import MsgspecError
from msgspec.structs import replace

from transports.clock import Clock
from transports.store import Records
from transports.store.port import SESSIONS, Record, StoreDown
from transports.web.session.cookies import header, merge
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
"""How long a rotated value waits to be saved before it is used."""

_REFRESH_SECONDS = 60.0
"""Minimum time between saves of minor cookies, and maximum age of what was read from the store."""

_TRIES = 16

_log = structlog.get_logger()


class SessionStore:
    """One account's stored session; the only reader and writer of it."""

    def __init__(
        self, account: str, seed: dict[str, str], records: Records, clock: Clock, copy: Records | None = None
    ) -> None:
        """Start with the export's cookies until `load`; `copy` is this machine's local copy of a shared store."""
        self._account, self._records, self._clock, self._copy = account, records, clock, copy
        self._seed = self.saved = from_export(seed)
        self._header_of: SessionRecord | None = None
        self._header = ""
        self._unsaved: SessionRecord | None = None
        """The newest value, until the store is known to have it."""
        self._copied: SessionRecord | None = None
        self._copy_loaded = copy is None
        self._noted: dict[str, str] | None = None
        """The cookies that ordinary responses have set since the last save."""
        self._noted_saved_at: float | None = None
        self._save_planned = self.weak = False
        """`weak`: the store could not confirm that the last write survives the loss of its server."""
        self._version = self._renewals = 0
        self._looked_at: float | None = None
        self._lock = anyio.Lock()
        self.wanted = anyio.Event()
        """Set when a value needs saving."""

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies to send."""
        return self.saved.cookies

    @property
    def cookie_header(self) -> str:
        """The Cookie header with all cookies; cached until they change."""
        if self._header_of is not self.saved:
            self._header_of, self._header = self.saved, header(self.saved.cookies)
        return self._header

    @property
    def version(self) -> int:
        """Number of the current credentials; a response's cookies belong to the version its request was sent with."""
        return self.saved.turn

    @property
    def record(self) -> int:
        """Version of the store's record when it was last read."""
        return self._version

    @property
    def renewals(self) -> int:
        """Number of changes of the sign-in cookies."""
        return self._renewals

    @property
    def unsaved(self) -> bool:
        """Whether the newest value may be missing from the store."""
        return self._unsaved is not None

    async def load(self) -> bool:
        """Reconcile this process with the store; return whether the cookies changed.

        Raises:
            OSError: the store is unavailable; the local copy has been read all the same.

        """
        async with self._lock:
            before = self.cookies
            await self._load_copy()
            await self._sync()
            return self.cookies != before

    async def load_if_old(self) -> bool:
        """Call `load` if the last read is old; concurrent callers do not repeat it. Store errors are logged."""
        now = self._clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < _REFRESH_SECONDS:
            return False
        self._looked_at = now
        try:
            return await self.load()
        except OSError:
            _log.warning("session_load_failed", account=self._account)
            return False

    async def merge_cookies(self, set_cookies: Iterable[str], *, since: int) -> None:
        """Merge and save a response's cookies, unless the session was renewed since its request was sent."""
        self.note_cookies(set_cookies, since=since)
        await self.save_noted()

    def note_cookies(self, set_cookies: Iterable[str], *, since: int) -> float | None:
        """Note a response's cookies; return the seconds until `save_noted` must be called, or None."""
        if since != self.version or self._has_unused_value:
            return None
        before = self._noted or self.cookies
        merged = merge(before, set_cookies)
        if merged == before:
            return None
        self._noted = merged
        if not same_credentials(merged, before):
            return 0.0
        if self._save_planned:
            return None
        self._save_planned = True
        passed = _REFRESH_SECONDS if self._noted_saved_at is None else self._clock.monotonic() - self._noted_saved_at
        return max(0.0, _REFRESH_SECONDS - passed)

    async def save_noted(self) -> None:
        """Save the noted cookies, then use them; a rolling cookie survives store errors and cancellation."""
        with anyio.CancelScope(shield=True):
            async with self._lock:
                noted, self._noted, self._save_planned = self._noted, None, False
                rolling = noted is not None and not same_credentials(noted, self.cookies)
                if noted is None or self._has_unused_value or (self.unsaved and not rolling):
                    return
                self._noted_saved_at = self._clock.monotonic()
                record = self._next(noted)
                if rolling:
                    now = self.saved.rotated_at
                    with suppress(OSError):
                        now = await self._records.now()
                    record = replace(record, turn=record.turn + 1, rotated_at=now)
                    self.wanted.set()
                    await self._keep_copy(record)
                self._unsaved = record
                try:
                    await self._sync()
                except OSError:
                    _log.warning("session_save_failed", account=self._account)
                    self._use(newer(record, self.saved) if rolling else self.saved)
                if self._unsaved is record and not rolling:
                    self._unsaved = None  # minor cookies may be lost

    async def renew(
        self, sent: SessionRecord, set_cookies: Iterable[str], *, at: float, by: str, interval: float | None = None
    ) -> bool:
        """Save and use the cookies from a rotation of `sent` started at `at`; return whether the store has them.

        Saving is retried for a while; after that the value is used unsaved and `flush` keeps trying. `interval` is the
        site's interval until the next rotation: infinity means never, None that the site did not name one.
        """
        cookies = merge(self.cookies if self.saved.gen == sent.gen else sent.cookies, set_cookies)
        renewed = replace(sent, cookies=cookies, gen=max(1, sent.gen), turn=sent.turn + 1, rotated_at=at, by=by)
        renewed = replace(renewed, ver=max(sent.ver, self.saved.ver) + 1, never=interval == math.inf)
        renewed = replace(renewed, interval=0.0 if interval is None or renewed.never else interval)
        self._unsaved = newer(renewed, self._unsaved) if self._unsaved is not None else renewed
        self.wanted.set()
        await self._keep_copy(renewed)
        if await self.save(_SAVE_SECONDS):
            return True
        _log.error("rotated_session_save_failed", account=self._account)
        self._use(newer(renewed, self.saved))
        return False

    async def mark_never_rotated(self, sent: SessionRecord) -> None:
        """Record that the site never rotates the session of `sent`; in memory only if the store is unavailable."""
        async with self._lock:
            if self.saved.gen != sent.gen or self._has_unused_value:
                return
            record = replace(self._next(self.cookies), never=True)
            self._unsaved = record
            try:
                await self._sync()
            except OSError:
                _log.warning("session_save_failed", account=self._account)
                self._use(record)

    async def save(self, seconds: float) -> bool:
        """Retry saving the newest value for `seconds`; return whether the store has it."""
        until = self._clock.monotonic() + seconds
        while self.unsaved:
            try:
                await self.load()
            except OSError:
                _log.debug("session_save_failed", account=self._account)
                if self._clock.monotonic() >= until:
                    return False
                await self._clock.sleep(_RETRY_SECONDS)
        return True

    @property
    def _has_unused_value(self) -> bool:
        """Whether a newer value than the one in use waits to be saved."""
        return self._unsaved is not None and self._unsaved.turn > self.saved.turn

    async def _sync(self) -> None:
        """Write the local value to the store if it is newer, else use the stored one."""
        for _ in range(_TRIES):
            found = await self._records.get(SESSIONS, self._account)
            self._looked_at = self._clock.monotonic()
            self._version = found.version if found is not None else 0
            stored = self._read(found)
            record = self._for_store(stored, damaged=found is not None and stored is None)
            if record is None:
                if stored is not None:
                    await self._keep_copy(stored)
                    self._use_stored(stored)
                return
            await self._keep_copy(record)
            version = await self._records.put(SESSIONS, self._account, encode(record), expected=self._version)
            if version is not None:
                self._version = version
                if record.turn != self.saved.turn:
                    self.weak = True
                    with suppress(OSError):
                        self.weak = not await self._records.settle()
                self._use_stored(record)
                return
        raise StoreDown("the session record keeps changing: too many writers")

    def _for_store(self, stored: SessionRecord | None, *, damaged: bool = False) -> SessionRecord | None:
        """Return the record that replaces the stored one; None: keep the stored one."""
        mine = newer(self._unsaved, self.saved) if self._unsaved is not None else self.saved
        if stored is None:
            return None if mine.gen == 0 or (damaged and not self.unsaved) else mine
        return resolve(mine, self._seed, stored)

    async def _load_copy(self) -> None:
        """Read this machine's local copy, once."""
        if self._copy_loaded or self._copy is None:
            return
        try:
            copied = self._read(await self._copy.get(SESSIONS, self._account))
        except OSError:
            _log.error("session_replica_unreadable", account=self._account)
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
        """Update the local copy to at least `saved`; if that fails, rely on the store."""
        if self._copy is None or (self._copied is not None and self._copied.order >= saved.order):
            return
        try:
            found = await self._copy.get(SESSIONS, self._account)
            stored = self._read(found)
            if stored is None or stored.order < saved.order:
                version = found.version if found is not None else 0
                if await self._copy.put(SESSIONS, self._account, encode(saved), expected=version) is None:
                    return  # another process of this machine is writing it
            self._copied = saved
        except OSError:
            _log.error("session_replica_write_failed", account=self._account)

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


_WAIT_SECONDS = 1.0
"""Delay before the first attempt; most values are saved at once without it."""

_LAST_SECONDS = 20.0


async def flush(session_store: SessionStore, clock: Clock) -> None:
    """Save unsaved values, retrying every second; cancellation waits up to 20 seconds for a last save."""
    try:
        while True:
            await session_store.wanted.wait()
            session_store.wanted = anyio.Event()
            await clock.sleep(_WAIT_SECONDS)
            await session_store.save(math.inf)
    finally:
        with anyio.move_on_after(_LAST_SECONDS, shield=True):
            await session_store.save(_LAST_SECONDS)
