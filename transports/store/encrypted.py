"""A store whose secret values are encrypted, by AES-256-GCM with a key from the operator's secret.

A sealed value says which key it needs, and opens in its own place and under its own key alone: one account's cannot
be put in another's place. What was written before there was a key is read as it is, and sealed when it is written next.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog

from transports.store.delegating import DelegatingStore
from transports.store.port import Change, Collection, Record, Store, Unreadable

if TYPE_CHECKING:  # imported with the first key
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_MARK = b"\x8fgemini-gateway\x01"
_ID_BYTES, _NONCE_BYTES = 8, 12
_BODY = len(_MARK) + _ID_BYTES + _NONCE_BYTES
_FOREIGN = 4
"""A mark with one byte in so many changed is a damaged mark, and not a value that begins so by chance."""
_TOLD = 1000

_log = structlog.get_logger()


class Cipher:
    """Seals with one key, and opens what it, or one of earlier, has sealed."""

    def __init__(self, secret: bytes | None, earlier: Sequence[bytes] = ()) -> None:
        """Seal with a key from `secret`; without one nothing is sealed."""
        secrets = [*([secret] if secret is not None else []), *earlier]
        self._keys = dict(_derived(one) for one in reversed(secrets))
        self._current = _derived(secret) if secret is not None else None

    @property
    def seals(self) -> bool:
        """Whether there is a key to seal with."""
        return self._current is not None

    def seal(self, place: Collection, key: str, value: bytes) -> bytes:
        """Return what is to be kept of a value."""
        if self._current is None or not place.sealed:
            return value
        identity, cipher = self._current
        nonce = os.urandom(_NONCE_BYTES)
        return _MARK + identity + nonce + cipher.encrypt(nonce, value, _bound(place, key, identity))

    def open(self, place: Collection, key: str, kept: bytes) -> bytes:
        """Return the value of what is kept.

        Raises:
            Unreadable: it is damaged, another record's, or sealed with a key that is not known.

        """
        if not place.sealed or not is_sealed(kept) or not (kept or self._keys):
            return kept
        identity, nonce = kept[len(_MARK) : _BODY - _NONCE_BYTES], kept[_BODY - _NONCE_BYTES : _BODY]
        if not kept.startswith(_MARK) or len(kept) < _BODY:
            raise _unreadable(place, key, "it is damaged")
        cipher = self._keys.get(identity)
        if cipher is None:
            raise _unreadable(place, key, "it is sealed with a key that is not given")
        from cryptography.exceptions import InvalidTag

        try:
            return cipher.decrypt(nonce, kept[_BODY:], _bound(place, key, identity))
        except InvalidTag:
            raise _unreadable(place, key, "it is damaged, or another record's") from None


def is_sealed(kept: bytes) -> bool:
    """Say whether it was sealed, or is what is left of that."""
    pairs = list(zip(kept, _MARK, strict=False))
    return sum(a != b for a, b in pairs) <= len(pairs) // _FOREIGN


def _derived(secret: bytes) -> "tuple[bytes, AESGCM]":
    """Return the identifier of the key derived from a secret, and its cipher."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(SHA256(), _ID_BYTES + 32, salt=None, info=b"gemini-gateway store").derive(secret)
    return derived[:_ID_BYTES], AESGCM(derived[_ID_BYTES:])


def _bound(place: Collection, key: str, identity: bytes) -> bytes:
    return b"\0".join((_MARK, identity, place.name.encode(), key.encode()))


def _unreadable(place: Collection, key: str, reason: str) -> Unreadable:
    return Unreadable(f"the record {key!r} of {place.name!r} cannot be read: {reason}")


class EncryptedStore(DelegatingStore):
    """A store over another one, which seems to hold plain values.

    `get` raises Unreadable for what does not open; `scan` logs it and leaves it out, `keys` names it. It stays there.
    """

    def __init__(self, store: Store, sealer: Cipher) -> None:
        """Keep everything in `store`, what is secret sealed."""
        super().__init__(store)
        self._sealer = sealer
        self._told: set[tuple[str, str]] = set()

    async def get(self, place: Collection, key: str) -> Record | None:
        """Return what is kept, None where nothing is."""
        record = await self._store.get(place, key)
        return None if record is None else self._opened(place, record)

    async def put(
        self,
        place: Collection,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        seconds: float | None = None,
    ) -> int | None:
        """Keep a value; return its version, None where another than the expected one is kept."""
        sealed = self._sealer.seal(place, key, value)
        return await self._store.put(place, key, sealed, expected=expected, seconds=seconds)

    async def write(self, changes: Sequence[Change]) -> list[int | None]:
        """Make several changes; return what became of each."""
        return await self._store.write([self._sealed(change) for change in changes])

    async def scan(
        self,
        place: Collection,
        prefix: str = "",
        *,
        after: str = "",
        most: int | None = None,
        reverse: bool = False,
    ) -> list[Record]:
        """Return the records whose keys begin with `prefix`, but for those that do not open."""
        found: list[Record] = []
        for record in await self._store.scan(place, prefix, after=after, most=most, reverse=reverse):
            try:
                found.append(self._opened(place, record))
            except Unreadable:
                continue
        return found

    def _sealed(self, change: Change) -> Change:
        if change.value is None:
            return change
        sealed = self._sealer.seal(change.place, change.key, change.value)
        return change if sealed is change.value else msgspec.structs.replace(change, value=sealed)

    def _opened(self, place: Collection, record: Record) -> Record:
        """Return a record with its plain value; tell of what is odd once.

        Raises:
            Unreadable: it does not open.

        """
        if not place.sealed:
            return record
        try:
            value = self._sealer.open(place, record.key, record.value)
        except Unreadable as error:
            if self._first(place.name, record.key):
                _log.error("record_unreadable", place=place.name, key=record.key, error=str(error))
            raise
        if self._sealer.seals and value is record.value and self._first(place.name, ""):
            _log.warning("records_unsealed", place=place.name)
        return msgspec.structs.replace(record, value=value)

    def _first(self, place: str, key: str) -> bool:
        """Say whether this was not told yet."""
        if (place, key) in self._told or len(self._told) >= _TOLD:
            return False
        self._told.add((place, key))
        return True
