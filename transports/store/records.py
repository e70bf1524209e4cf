"""What the records of all backends have in common: defaults, single changes, and the encryption hook.

A backend implements `_get`, `_get_many`, `_write`, `_scan` and `_keys` on stored values. If it has a cipher,
`BaseRecords` encrypts each value before `_write` and decrypts what the others return; nothing else sees a stored value
of a secret.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from transports.store.encryption import SEALED, Cipher, RecordEncryption
from transports.store.port import Change, Collection, KeyRange, Record


class SingleChanges(ABC):
    """`put` and `remove` of `port.Records`, as changes that the subclass applies one by one or together."""

    async def put(
        self,
        collection: Collection,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        seconds: float | None = None,
    ) -> int | None:
        """Write a record; return its version, or None if the expected version did not match.

        Raises:
            StoreDown: the store failed. The record may or may not have been written.

        """
        return await self._apply(
            Change(collection=collection, key=key, value=value, expected=expected, seconds=seconds)
        )

    async def remove(self, collection: Collection, key: str, *, expected: int | None = None) -> bool:
        """Remove a record; return whether it was removed.

        Raises:
            StoreDown: the store failed. The record may or may not have been removed.

        """
        return await self._apply(Change(collection=collection, key=key, value=None, expected=expected)) is not None

    @abstractmethod
    async def _apply(self, change: Change) -> int | None:
        """Apply a change; return the version that was put, 0 for a removal, or None if it did not apply."""


class BaseRecords(SingleChanges):
    """Base class of the backends; see `port.Records` for what the methods do."""

    def __init__(self, cipher: Cipher | None = None) -> None:
        """Encrypt and decrypt secret values with `cipher`; None: return and store all values as they are."""
        self._encryption = RecordEncryption(cipher) if cipher is not None else None

    async def get(self, collection: Collection, key: str) -> Record | None:
        """Return a record, or None if there is none."""
        record = await self._get(collection, key)
        if record is None or self._encryption is None:
            return record
        return self._encryption.decrypt(collection, record)

    async def get_many(self, collection: Collection, keys: Sequence[str]) -> list[Record]:
        """Return the records of these keys that exist."""
        records = await self._get_many(collection, keys) if keys else []
        return records if self._encryption is None else self._encryption.decrypt_readable(collection, records)

    async def _apply(self, change: Change) -> int | None:
        return (await self._write(self._encrypted((change,))))[0]

    async def check_keys(self) -> None:
        """Check that no record needs an encryption key that is not configured.

        Raises:
            SealedRecords: some do.
            StoreDown: the store failed.

        """
        if self._encryption is None:
            return
        found: list[tuple[str, bytes]] = []
        for collection in SEALED:
            records = await self._scan(KeyRange(collection, "", "", None, reverse=False))
            found += [(collection.name, record.value) for record in records]
        self._encryption.check(found)

    async def write(self, changes: Sequence[Change]) -> list[int | None]:
        """Apply several changes; return the result of each."""
        return await self._write(self._encrypted(changes)) if changes else []

    async def scan(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Record]:
        """Return the records whose keys begin with `prefix`, sorted by key."""
        records = await self._scan(KeyRange(collection, prefix, after, limit, reverse))
        return records if self._encryption is None else self._encryption.decrypt_readable(collection, records)

    async def keys(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[str]:
        """Return the keys that begin with `prefix`, sorted."""
        return await self._keys(KeyRange(collection, prefix, after, limit, reverse))

    def _encrypted(self, changes: Sequence[Change]) -> Sequence[Change]:
        return changes if self._encryption is None else [self._encryption.encrypt(change) for change in changes]

    @abstractmethod
    async def _get(self, collection: Collection, key: str) -> Record | None:
        """Return a record with its stored value."""

    @abstractmethod
    async def _get_many(self, collection: Collection, keys: Sequence[str]) -> list[Record]:
        """Return the records of these keys that exist with their stored values."""

    @abstractmethod
    async def _write(self, changes: Sequence[Change]) -> list[int | None]:
        """Apply one change or more, whose values are stored as they are."""

    @abstractmethod
    async def _scan(self, key_range: KeyRange) -> list[Record]:
        """Return the records of a range with their stored values."""

    @abstractmethod
    async def _keys(self, key_range: KeyRange) -> list[str]:
        """Return the keys of a range."""
