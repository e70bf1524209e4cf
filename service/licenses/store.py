"""Licenses in the store, with the SHA-256 digests of their keys, and a cache that follows changes of other processes.

With a SQLite store, every lookup checks for changes; with Redis, that happens once a second, and for every unknown key.
While the store cannot be reached, cached licenses stay valid for a day.

Source: reliability 2.3
"""

import math
import re
import secrets
from collections.abc import Mapping
from hashlib import sha256

import anyio
import msgspec
import structlog

from protocol.model import Caller, Feature
from transports.clock import Clock
from transports.store import Record, Records, StoreDown
from transports.store.port import LICENSES

KEY = re.compile(rb"[\x21-\x7e]{8,256}")
_ID = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_KNOWN_SECONDS = 86400.0
"""How long cached licenses are used while the store cannot be reached."""
_SERIAL_BYTES = 8
_ALL = "*"
"""Stored for all features, including future ones."""

_log = structlog.get_logger()


class LicenseError(ValueError):
    """A license cannot be added or found; the message is safe to show to the operator."""


class License(msgspec.Struct, frozen=True, kw_only=True):
    """One license. Its key is not stored, only the key's digest."""

    id: str
    models: tuple[str, ...] = ("*",)
    features: tuple[Feature, ...] = tuple(Feature)
    aliases: dict[str, str] = {}
    """See `protocol.model.Caller.aliases`."""
    fallbacks: dict[str, tuple[str, ...]] = {}
    """See `protocol.model.Caller.fallbacks`."""
    created: float = 0.0
    """Epoch seconds."""
    revoked: float | None = None
    serial: str | None = None
    """See `protocol.model.Caller.serial`; the store chooses it."""

    @property
    def caller(self) -> Caller:
        """The caller that has this license."""
        return Caller(
            id=self.id,
            serial=self.serial,
            models=self.models,
            features=self.features,
            aliases=self.aliases,
            fallbacks=self.fallbacks,
        )


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A license as it is stored under its id."""

    digest: bytes
    models: tuple[str, ...]
    features: tuple[str, ...] = (_ALL,)
    aliases: dict[str, str] = {}
    fallbacks: dict[str, tuple[str, ...]] = {}
    created: float
    revoked: float | None = None
    serial: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Entry).decode


class LicenseStore:
    """Licenses in the store, added by command or admin API. Every method may raise OSError if the store fails."""

    def __init__(self, records: Records, clock: Clock, *, fresh_seconds: float = 0.0) -> None:
        """Check for changes at most every `fresh_seconds`, except for unknown keys."""
        self._records, self._clock, self._fresh = records, clock, fresh_seconds
        self._entries: dict[str, _Entry] = {}
        self._ids: dict[bytes, str] = {}
        """Ids of the licenses that are not revoked, by the digests of their keys."""
        self._revision = -1
        self._checks, self._down = 0, False
        self._checked_at = self._known_at = -math.inf
        """Start times of the last check, and of the last check that succeeded."""
        self._lock = anyio.Lock(fast_acquire=True)

    async def add(self, granted: License, key: str) -> None:
        """Add a license; the id of a revoked one may be used again, for a license that owns nothing of the earlier one.

        Raises:
            LicenseError: the id or key is invalid or in use.

        """
        check_license(granted.id, key)
        digest = sha256(key.encode()).digest()
        record = await self._records.get(LICENSES, granted.id)
        old = _entry(record) if record is not None else None
        entries = await self._scan()
        free = record is None or (old is not None and old.revoked is not None)
        used = any(entry.digest == digest for name, entry in entries.items() if name != granted.id)
        features = (_ALL,) if set(granted.features) == set(Feature) else tuple(map(str, granted.features))
        entry = _Entry(
            digest=digest,
            models=granted.models,
            features=features,
            aliases=granted.aliases,
            fallbacks=granted.fallbacks,
            created=granted.created,
            serial=secrets.token_hex(_SERIAL_BYTES),
        )
        expected = record.version if record is not None else 0
        if used or not free or await self._records.put(LICENSES, granted.id, _encode(entry), expected=expected) is None:
            raise LicenseError(f"the license {granted.id!r}, or one with this key, exists already")

    async def revoke(self, identity: str, now: float) -> None:
        """Revoke a license.

        Raises:
            LicenseError: there is no such license, it is revoked already, or it was changed at the same time.

        """
        record = await self._records.get(LICENSES, identity) if _ID.fullmatch(identity) else None
        entry = _entry(record) if record is not None else None
        if record is None or entry is None or entry.revoked is not None:
            raise LicenseError(f"no license {identity!r}: it does not exist, or is revoked already")
        value = _encode(msgspec.structs.replace(entry, revoked=now))
        if await self._records.put(LICENSES, identity, value, expected=record.version) is None:
            raise LicenseError(f"the license {identity!r} was changed at the same time: try again")

    async def all(self) -> list[License]:
        """Return all licenses, oldest first."""
        found = [_license(*item) for item in (await self._scan()).items()]
        return sorted(found, key=lambda one: (one.created, one.id))

    async def valid(self) -> tuple[frozenset[str], Mapping[bytes, str]]:
        """Return the ids of the licenses that are not revoked, and these ids by the digests of their keys."""
        entries = await self._scan()
        digests = {entry.digest: name for name, entry in entries.items() if entry.revoked is None}
        return frozenset(digests.values()), digests

    @property
    def count(self) -> int:
        """The number of cached licenses that are not revoked."""
        return len(self._ids)

    async def refresh(self) -> None:
        """Update the cached licenses if they have changed."""
        await self._refresh(force=True)

    async def find(self, digest: bytes) -> License | None:
        """Return the valid license with this key digest."""
        await self._refresh()
        if digest not in self._ids:
            await self._refresh(force=True)
        identity = self._ids.get(digest)
        return _license(identity, self._entries[identity]) if identity is not None else None

    async def current(self, identity: str, serial: str) -> License | None:
        """Return the license with this id and serial, unless it is revoked."""
        await self._refresh()
        if identity not in self._entries or self._entries[identity].serial != serial:
            await self._refresh(force=True)
        entry = self._entries.get(identity)
        if entry is None or entry.serial != serial or entry.revoked is not None:
            return None
        return _license(identity, entry)

    async def has_ended(self, owner: str) -> bool:
        """Return whether the license of this `Caller.owner` was revoked; False if it is unknown, or of the settings."""
        identity, _, serial = owner.partition("+")
        await self._refresh()
        entry = self._entries.get(identity)
        return bool(serial) and entry is not None and (entry.serial != serial or entry.revoked is not None)

    async def _refresh(self, *, force: bool = False) -> None:
        """Check for changes if the last check is too old, with `force` always; simultaneous callers share one check.

        Raises:
            StoreDown: the check failed, and the cached licenses cannot be used.

        """
        now, checks = self._clock.monotonic(), self._checks
        usable = now - self._known_at < _KNOWN_SECONDS
        if not force and usable and (now - self._checked_at < self._fresh or self._lock.locked()):
            return
        async with self._lock:
            if self._checks == checks:
                await self._check()
        if self._down and (force or not usable):
            raise StoreDown("licenses cannot be looked up")

    async def _check(self) -> None:
        """Update the cached licenses, and note whether the store answers."""
        self._checks, self._checked_at = self._checks + 1, self._clock.monotonic()
        try:
            revision = (await self._records.revisions()).get(LICENSES.name, 0)
            if revision != self._revision:
                self._entries = await self._scan()
                self._ids = {entry.digest: name for name, entry in self._entries.items() if entry.revoked is None}
                self._revision = revision
        except OSError:
            self._down = True
            return
        self._down, self._known_at = False, self._checked_at

    async def _scan(self) -> dict[str, _Entry]:
        read = {record.key: _entry(record) for record in await self._records.scan(LICENSES)}
        return {name: entry for name, entry in read.items() if entry is not None}


def _entry(record: Record) -> _Entry | None:
    """Return a decoded record, or None if it cannot be decoded."""
    try:
        return _decode(record.value)
    except msgspec.MsgspecError:
        _log.error("license_unreadable", license=record.key)
        return None


def _license(identity: str, entry: _Entry) -> License:
    known = tuple(feature for feature in Feature if _ALL in entry.features or feature in entry.features)
    return License(
        id=identity,
        models=entry.models,
        features=known,
        aliases=entry.aliases,
        fallbacks=entry.fallbacks,
        created=entry.created,
        revoked=entry.revoked,
        serial=entry.serial,
    )


def valid_license_id(identity: str) -> str:
    """Return the id of a license; raise LicenseError if it is invalid. It appears in logs."""
    if not _ID.fullmatch(identity):
        raise LicenseError("a license's id is 1 to 64 letters, digits, '.', '_', '@' or '-'")
    return identity


def check_license(identity: str, key: str) -> None:
    """Raise LicenseError unless id and key are valid: the id appears in logs, the key in a header."""
    valid_license_id(identity)
    if not KEY.fullmatch(key.encode("utf-8", "surrogatepass")):
        raise LicenseError("a license key is 8 to 256 printable ASCII characters without spaces")
