"""Encryption of secret values with AES-256-GCM, with keys derived from the operator's secrets.

An encrypted value is a mark, the id of its encryption key, a nonce and the ciphertext. It is bound to its collection
and record key, so one account's value cannot be moved to another account. Values that were written before a key was
configured are read as plain text, and encrypted when they are next written.
"""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog

from transports.store.port import COLLECTIONS, Change, Collection, Record, SealedRecords, Unreadable

if TYPE_CHECKING:  # imported with the first key
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_MARK = b"\x8fgemini-gateway\x01"
_ID_BYTES, _NONCE_BYTES = 8, 12
_BODY = len(_MARK) + _ID_BYTES + _NONCE_BYTES
LONGEST_MARK = len(_MARK) + _ID_BYTES
"""Bytes at the beginning of an encrypted value that name its key."""
_FOREIGN = 4
"""A value whose first bytes differ from the mark in at most one byte of four is a damaged encrypted value."""
_MAX_REPORTED = 1000
SEALED = tuple(collection for collection in COLLECTIONS if collection.encrypted and collection.durable)
"""Collections whose records must not count as missing."""

_log = structlog.get_logger()


class Cipher:
    """Encrypts values with the current key, and decrypts values of the current and earlier keys."""

    def __init__(self, secret: bytes | None, earlier: Sequence[bytes] = ()) -> None:
        """Derive the keys; without `secret` nothing is encrypted."""
        secrets = [*([secret] if secret is not None else []), *earlier]
        self._keys = dict(_derive(one) for one in reversed(secrets))
        self._current = _derive(secret) if secret is not None else None

    @property
    def can_encrypt(self) -> bool:
        """Whether there is a current key."""
        return self._current is not None

    def knows(self, kept: bytes) -> bool:
        """Return whether stored bytes, or their first `LONGEST_MARK` bytes, need no key that is not configured.

        Damaged values count as known: no key opens them.
        """
        return not kept.startswith(_MARK) or len(kept) < LONGEST_MARK or kept[len(_MARK) : LONGEST_MARK] in self._keys

    def encrypt(self, collection: Collection, key: str, value: bytes) -> bytes:
        """Return the bytes to store for a value."""
        if self._current is None or not collection.encrypted:
            return value
        identity, cipher = self._current
        nonce = os.urandom(_NONCE_BYTES)
        return _MARK + identity + nonce + cipher.encrypt(nonce, value, _bound(collection, key, identity))

    def decrypt(self, collection: Collection, key: str, kept: bytes) -> bytes:
        """Return the plain value of stored bytes.

        Raises:
            Unreadable: it is damaged, belongs to another record, or needs an unknown key.

        """
        if not collection.encrypted or not is_encrypted(kept) or not (kept or self._keys):
            return kept
        identity, nonce = kept[len(_MARK) : _BODY - _NONCE_BYTES], kept[_BODY - _NONCE_BYTES : _BODY]
        if not kept.startswith(_MARK) or len(kept) < _BODY:
            raise _unreadable(collection, key, "it is damaged")
        cipher = self._keys.get(identity)
        if cipher is None:
            raise _unreadable(collection, key, "its encryption key is not configured")
        from cryptography.exceptions import InvalidTag

        try:
            return cipher.decrypt(nonce, kept[_BODY:], _bound(collection, key, identity))
        except InvalidTag:
            raise _unreadable(collection, key, "it is damaged, or it belongs to another record") from None


def is_encrypted(kept: bytes) -> bool:
    """Return whether stored bytes are an encrypted value, damaged or not."""
    pairs = list(zip(kept, _MARK, strict=False))
    return sum(a != b for a, b in pairs) <= len(pairs) // _FOREIGN


def _derive(secret: bytes) -> "tuple[bytes, AESGCM]":
    """Derive a key from a secret; return its id and cipher."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(SHA256(), _ID_BYTES + 32, salt=None, info=b"gemini-gateway store").derive(secret)
    return derived[:_ID_BYTES], AESGCM(derived[_ID_BYTES:])


def _bound(collection: Collection, key: str, identity: bytes) -> bytes:
    return b"\0".join((_MARK, identity, collection.name.encode(), key.encode()))


def _unreadable(collection: Collection, key: str, reason: str) -> Unreadable:
    return Unreadable(f"the record {key!r} of {collection.name!r} cannot be read: {reason}")


class RecordEncryption:
    """The hook that encrypts the values of records on their way to a store, and decrypts them on the way back."""

    def __init__(self, cipher: Cipher) -> None:
        """Encrypt and decrypt with `cipher`."""
        self._cipher = cipher
        self._reported: set[tuple[str, str]] = set()

    def check(self, values: Iterable[tuple[str, bytes]]) -> None:
        """Check that no stored value, given with its collection's name, needs a key that is not configured.

        Raises:
            SealedRecords: some do.

        """
        secret = {collection.name for collection in SEALED}
        sealed = sum(name in secret and not self._cipher.knows(value) for name, value in values)
        if sealed:
            raise SealedRecords(sealed)

    def encrypt(self, change: Change) -> Change:
        """Return a change with its value encrypted."""
        if change.value is None:
            return change
        encrypted = self._cipher.encrypt(change.collection, change.key, change.value)
        return change if encrypted is change.value else msgspec.structs.replace(change, value=encrypted)

    def decrypt(self, collection: Collection, record: Record) -> Record:
        """Return a record with its plain value; log an unreadable or unencrypted record once.

        Raises:
            Unreadable: it cannot be decrypted. The stored record is kept.

        """
        if not collection.encrypted:
            return record
        try:
            value = self._cipher.decrypt(collection, record.key, record.value)
        except Unreadable as error:
            if self._is_first(collection.name, record.key):
                _log.error("record_unreadable", collection=collection.name, key=record.key, error=str(error))
            raise
        if self._cipher.can_encrypt and value is record.value and self._is_first(collection.name, ""):
            _log.warning("records_unencrypted", collection=collection.name)
        return msgspec.structs.replace(record, value=value)

    def decrypt_readable(self, collection: Collection, records: Iterable[Record]) -> list[Record]:
        """Return the records that can be decrypted, with their plain values."""
        found: list[Record] = []
        for record in records:
            try:
                found.append(self.decrypt(collection, record))
            except Unreadable:
                continue
        return found

    def _is_first(self, collection: str, key: str) -> bool:
        """Return whether this was not logged yet, and remember it."""
        if (collection, key) in self._reported or len(self._reported) >= _MAX_REPORTED:
            return False
        self._reported.add((collection, key))
        return True
