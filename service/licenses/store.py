"""The book of licenses: records of the store, each with the digest of its key; who reads sees what others wrote.

Where the store is a file, every look sees to it that nothing has changed; elsewhere that is done each second, and once
more for a key that is not known. A store that is out of reach leaves what is known in force for a day.

Source: reliability 6.3
"""

import math
import re
from hashlib import sha256

import anyio
import msgspec
import structlog

from protocol.model import Feature
from transports.clock import Clock
from transports.store import Record, Store, StoreDown
from transports.store.port import LICENSES

KEY = re.compile(rb"[\x21-\x7e]{8,256}")
_ID = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_KNOWN_SECONDS = 86400.0
_ALL = "*"
"""In the store: all features, those to come included."""

_log = structlog.get_logger()


class LicenseError(ValueError):
    """A license that cannot be added or found; the message is fit for the operator."""


class License(msgspec.Struct, frozen=True, kw_only=True):
    """One license; its key is known to its holder alone."""

    id: str
    models: tuple[str, ...] = ("*",)
    features: tuple[Feature, ...] = tuple(Feature)
    created: float = 0.0
    """Epoch seconds."""
    revoked: float | None = None


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A license as the store holds it, by its id."""

    digest: bytes
    models: tuple[str, ...]
    features: tuple[str, ...] = (_ALL,)
    created: float
    revoked: float | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Entry).decode


def digest_of(key: bytes) -> bytes:
    """Return what is stored of a key."""
    return sha256(key).digest()


class LicenseStore:
    """The licenses of the command line; every method may raise OSError: the store is out of order."""

    def __init__(self, store: Store, clock: Clock, *, fresh_seconds: float = 0.0) -> None:
        """Look for changes no oftener than after so many seconds, but for what is not known."""
        self._store, self._clock, self._fresh = store, clock, fresh_seconds
        self._entries: dict[str, _Entry] = {}
        self._ids: dict[bytes, str] = {}
        """The licenses that are not revoked, by the digests of their keys."""
        self._revision = -1
        self._looks, self._down = 0, False
        self._looked = self._known = -math.inf
        """When the last look was begun, and the last one that the store has answered."""
        self._lock = anyio.Lock(fast_acquire=True)

    async def add(self, granted: License, key: str) -> None:
        """Add a license; one that was revoked may be added anew, with another key.

        Raises:
            LicenseError: the id is in use or no id, or the key is in use or not fit for a header.

        """
        check(granted.id, key)
        digest = digest_of(key.encode())
        there = await self._store.get(LICENSES, granted.id)
        old = _entry(there) if there is not None else None
        entries = await self._scan()
        free = there is None or (old is not None and old.revoked is not None)
        used = any(entry.digest == digest for name, entry in entries.items() if name != granted.id)
        features = (_ALL,) if set(granted.features) == set(Feature) else tuple(map(str, granted.features))
        entry = _Entry(digest=digest, models=granted.models, features=features, created=granted.created)
        expected = there.version if there is not None else 0
        if used or not free or await self._store.put(LICENSES, granted.id, _encode(entry), expected=expected) is None:
            raise LicenseError(f"the license {granted.id!r}, or one with this key, exists already")

    async def revoke(self, identity: str, now: float) -> None:
        """Make a license worthless from now on.

        Raises:
            LicenseError: there is none of this id.

        """
        there = await self._store.get(LICENSES, identity) if _ID.fullmatch(identity) else None
        entry = _entry(there) if there is not None else None
        if there is None or entry is None or entry.revoked is not None:
            raise LicenseError(f"there is no license {identity!r} that is not revoked already")
        value = _encode(msgspec.structs.replace(entry, revoked=now))
        if await self._store.put(LICENSES, identity, value, expected=there.version) is None:
            raise LicenseError(f"somebody else has just changed the license {identity!r}: look, and try again")

    async def all(self) -> list[License]:
        """Return all licenses, oldest first."""
        found = [_license(*item) for item in (await self._scan()).items()]
        return sorted(found, key=lambda one: (one.created, one.id))

    async def find(self, digest: bytes) -> License | None:
        """Return the valid license of a key's digest."""
        await self._look()
        if digest not in self._ids:
            await self._look(anew=True)
        identity = self._ids.get(digest)
        return _license(identity, self._entries[identity]) if identity is not None else None

    async def valid(self, identity: str) -> bool:
        """Say whether there is a license of this id that was not revoked."""
        await self._look()
        if identity not in self._entries:
            await self._look(anew=True)
        return identity in self._entries and self._entries[identity].revoked is None

    async def _look(self, *, anew: bool = False) -> None:
        """See what has changed, if it is time to; with `anew` in any case, but at once for all who ask at once.

        Raises:
            StoreDown: that could not be seen, and what is known does not do.

        """
        now, looks = self._clock.monotonic(), self._looks
        lasting = now - self._known < _KNOWN_SECONDS
        if not anew and lasting and (now - self._looked < self._fresh or self._lock.locked()):
            return
        async with self._lock:
            if self._looks == looks:
                await self._read()
        if self._down and (anew or not lasting):
            raise StoreDown("licenses cannot be looked up")

    async def _read(self) -> None:
        """Bring what is known up to date; note whether the store answers."""
        self._looks, self._looked = self._looks + 1, self._clock.monotonic()
        try:
            revision = (await self._store.revisions()).get(LICENSES.name, 0)
            if revision != self._revision:
                self._entries = await self._scan()
                self._ids = {entry.digest: name for name, entry in self._entries.items() if entry.revoked is None}
                self._revision = revision
        except OSError:
            self._down = True
            return
        self._down, self._known = False, self._looked

    async def _scan(self) -> dict[str, _Entry]:
        read = {record.key: _entry(record) for record in await self._store.scan(LICENSES)}
        return {name: entry for name, entry in read.items() if entry is not None}


def _entry(record: Record) -> _Entry | None:
    """Return what a record says; None: it cannot be read."""
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
        created=entry.created,
        revoked=entry.revoked,
    )


def check(identity: str, key: str) -> None:
    """Raise LicenseError unless id and key are fit for logs and headers."""
    if not _ID.fullmatch(identity):
        raise LicenseError("a license's id is 1 to 64 letters, digits, '.', '_', '@' or '-'")
    if not KEY.fullmatch(key.encode("utf-8", "surrogatepass")):
        raise LicenseError("a license key is 8 to 256 printable ASCII characters without spaces")
