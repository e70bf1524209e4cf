"""This machine's local replica of the records that a shared store must not lose, and their restoration.

`ReplicatedRecords` are the records that a gateway uses; `LocalReplica` does the work. Every poll for changes checks
that the store was not emptied, and restores it if it was. So does every read of a replicated collection, after the
read: if the store was emptied meanwhile, it is restored and read again. While it cannot be restored, reads raise
StoreDown, so a lost record is never mistaken for a removed one.

A store is identified by its mark, which its first user writes. While the mark is present, a missing record was
removed on purpose, and the replica follows. If the mark is missing, the store was emptied: every machine restores the
records of its replica, and the first one writes the mark again, with the same id and a new `round`. A machine that
finds a round unknown to its replica restores its own records too, once. So the replicas of all machines are merged,
whenever each machine returns:

- Next to a restored record, its earlier version is stored. Of two replicas, the later change wins. A removal is a
  change too, so an old replica does not bring back a record that a newer one knows to be removed.
- A change made after the restoration wins over every replica.
- A change that no replica had seen when the store was lost (about one poll interval) is lost, removals included.

A mark with another id belongs to another store: the replica starts again from it. The exception is a mark that was
created after the replica last saw its own: a new machine found the emptied store first.

Example: machines A and B know account x in version 5 and 7, and the store is emptied. A restores version 5 and writes
the mark with a new round. B finds the unknown round, sees that its version 7 is newer than the restored 5, and
replaces it.

Source: reliability 2.1
"""

import math
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import anyio
import msgspec
import structlog

from transports.clock import Clock
from transports.store.port import (
    ACCOUNTS,
    ATTENTION,
    KEYS,
    LICENSES,
    MARKS,
    PAUSES,
    SESSIONS,
    Change,
    Collection,
    Record,
    Records,
    StoreDown,
    Unreadable,
)

REPLICATED = (ACCOUNTS, PAUSES, ATTENTION, LICENSES, KEYS)
"""The replicated collections; sessions are saved separately on each machine."""
_MARK = "mark"
_ID_BYTES = 16
_TRIES = 8
_READ_TRIES = 4
_NOTE_SECONDS = 60.0
"""How often the replica notes when the store was last seen."""

_log = structlog.get_logger()
StructT = TypeVar("StructT", bound=msgspec.Struct)
FoundT = TypeVar("FoundT")


class _Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Identifies a store."""

    id: str
    round: str
    """Changes whenever the store was emptied and restored."""
    created: float
    """When the store was created, by its own clock."""


class _LastSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The mark of the store that a replica belongs to."""

    mark: _Mark
    at: float
    """When it was last seen, by the store's clock."""


class _ReplicaRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A replicated record."""

    version: int
    value: bytes | None
    """None: the record was removed."""


class _Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A restored record."""

    version: int
    """Its version in the replica."""
    put: int = 0
    """Its version in the restored store; 0: it was removed there."""


_encode = msgspec.msgpack.Encoder().encode


class LocalReplica:
    """Keeps this machine's replica of a store up to date, and restores the store from it."""

    def __init__(self, store: Records, copy: Records, clock: Clock) -> None:
        """Replicate `store` to `copy`, which the processes of this machine share."""
        self._store, self._copy, self._clock = store, copy, clock
        self._mark: _Mark | None = None
        """The store's mark when it was last complete."""
        self._revisions: dict[str, int] = {}
        """Revisions of the collections that the replica has caught up with."""
        self._noted_at = -math.inf
        self._failed = False

    @property
    def round(self) -> str | None:
        """The store's current round; None before the first check."""
        return self._mark.round if self._mark is not None else None

    async def is_complete(self) -> bool:
        """Return whether the store was not emptied since it was last complete."""
        return self._mark is not None and await self._read_mark() == self._mark

    async def restore(self) -> None:
        """Restore all records if the store was emptied.

        Raises:
            OSError: the store failed, or it was emptied and the replica cannot be read.

        """
        for _ in range(_TRIES):
            mark = await self._read_mark()
            if mark is not None and mark == self._mark:
                return
            try:
                seen = _decode(await self._copy.get(MARKS, _MARK), _LastSeen)
            except OSError:
                self._log_failure()
                if mark is None:
                    raise
                self._mark = mark
                return
            whole = await self._merge(mark, seen)
            if whole is not None:
                self._mark, self._revisions = whole, {}
                await self._note_store()
                return
        raise StoreDown("the store keeps being emptied; check the server's persistence and eviction settings")

    def is_up_to_date(self, revisions: dict[str, int]) -> bool:
        """Return whether these revisions show a complete store and a current replica; revisions never repeat."""
        known = revisions.get(MARKS.name, 0) > 0 and all(
            revisions.get(collection.name, 0) == self._revisions.get(collection.name)
            for collection in (MARKS, *REPLICATED)
        )
        return known and self._clock.monotonic() - self._noted_at < _NOTE_SECONDS

    async def follow(self, revisions: dict[str, int], before: dict[str, int]) -> None:
        """Copy changes of a complete store to the replica; `before` are the revisions from before it was checked.

        Raises:
            OSError: the store failed; a failure of the replica is logged and tried again.

        """
        for collection in REPLICATED:
            revision = revisions.get(collection.name, 0)
            if self._revisions.get(collection.name) == revision:
                continue
            names, records = await self._store.keys(collection), await self._store.scan(collection)
            after = await self._store.revisions()
            if not await self.is_complete():
                return
            try:
                await self._copy_collection(collection, set(names), records, after.get(collection.name, 0))
            except OSError:
                self._log_failure()
                return
            self._revisions[collection.name] = revision
        self._revisions[MARKS.name] = before.get(MARKS.name, 0)
        if self._clock.monotonic() - self._noted_at >= _NOTE_SECONDS:
            await self._note_store()

    async def _merge(self, mark: _Mark | None, seen: _LastSeen | None) -> _Mark | None:
        """Merge the store and the replica; return the mark, or None if another machine has set one meanwhile."""
        if mark is None:
            count = await self._restore_records()
            if seen is not None:
                _log.warning("store_restored", records=count)
            created = seen.mark.created if seen is not None else await self._store.now()
            name = seen.mark.id if seen is not None else secrets.token_hex(_ID_BYTES)
            mark = _Mark(id=name, round=secrets.token_hex(_ID_BYTES), created=created)
            put = await self._store.put(MARKS, _MARK, _encode(mark), expected=0)
            return mark if put is not None else None
        if seen is None or mark == seen.mark:
            return mark
        if mark.id == seen.mark.id or mark.created > seen.at:
            _log.warning("store_restored", records=await self._restore_records())
        else:
            _log.warning("store_replaced", advice="the replica of the previous store is discarded")
            for collection in REPLICATED:
                for key in await self._copy.keys(collection):
                    await self._copy.remove(collection, key)
        return mark

    async def _restore_records(self) -> int:
        """Restore the replica's records unless the store has newer ones; return the number of restored records."""
        count = 0
        for collection in REPLICATED:
            for record in await self._copy.scan(collection):
                replicated = _decode(record, _ReplicaRecord)
                count += replicated is not None and await self._restore_record(collection, record.key, replicated)
        return count

    async def _restore_record(self, collection: Collection, key: str, replicated: _ReplicaRecord) -> bool:
        try:
            record = await self._store.get(collection, key)
        except Unreadable:
            return False
        restored = _decode(await self._store.get(MARKS, _name(collection, key)), _Restored)
        before, put = record.version if record is not None else 0, 0
        if restored is None:
            newer = record is None or record.value == replicated.value
        else:  # not if the store's record was changed after the restoration
            newer = restored.put == before and replicated.version > restored.version
        if not newer:
            return False
        if replicated.value is not None:
            version = await self._store.put(collection, key, replicated.value, expected=before)
            if version is None:
                return False
            put = version
        elif before and not await self._store.remove(collection, key, expected=before):
            return False
        note = _Restored(version=replicated.version, put=put)
        await self._store.put(MARKS, _name(collection, key), _encode(note))
        return replicated.value is not None

    async def _copy_collection(
        self, collection: Collection, names: set[str], records: list[Record], revision: int
    ) -> None:
        """Copy a collection to the replica; removed records get `revision` as version, an upper bound."""
        known = {record.key: _decode(record, _ReplicaRecord) for record in await self._copy.scan(collection)}
        for record in records:
            current = _ReplicaRecord(version=record.version, value=record.value)
            if known.get(record.key) != current:
                await self._copy.put(collection, record.key, _encode(current))
        for key, replicated in known.items():
            if key not in names and replicated is not None and replicated.value is not None:
                await self._copy.put(collection, key, _encode(_ReplicaRecord(version=revision, value=None)))
                if collection is ACCOUNTS:
                    await self._copy.remove(SESSIONS, key)
        self._failed = False

    async def _note_store(self) -> None:
        """Note in the replica which store it belongs to, and when the store was last seen."""
        if self._mark is None:
            return
        now = await self._store.now()
        try:
            await self._copy.put(MARKS, _MARK, _encode(_LastSeen(mark=self._mark, at=now)))
        except OSError:
            self._log_failure()
        self._noted_at = self._clock.monotonic()

    async def _read_mark(self) -> _Mark | None:
        return _decode(await self._store.get(MARKS, _MARK), _Mark)

    def _log_failure(self) -> None:
        """Log once that the replica failed."""
        if not self._failed:
            _log.error("store_replica_write_failed", advice="check the disk of store.local_replica_path")
        self._failed = True


class ReplicatedRecords:
    """Records of a shared store, of which the lost ones are restored from this machine's replica."""

    def __init__(self, store: Records, copy: Records, clock: Clock) -> None:
        """Keep records in `store`, and replicate them to `copy` on this machine."""
        self._store = store
        self._replica = LocalReplica(store, copy, clock)
        self._lock = anyio.Lock()

    async def get(self, collection: Collection, key: str) -> Record | None:
        """Return a record, or None if there is none and none was lost."""
        found = await self._store.get(collection, key)
        if found is not None or collection not in REPLICATED:
            return found
        return await self._read_restored(lambda: self._store.get(collection, key))

    async def get_many(self, collection: Collection, keys: Sequence[str]) -> list[Record]:
        """Return the records of these keys that exist, including restored ones."""
        read = partial(self._store.get_many, collection, keys)
        return await (self._read_restored(read) if collection in REPLICATED else read())

    async def put(
        self,
        collection: Collection,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        seconds: float | None = None,
    ) -> int | None:
        """Write a record; return its version, or None if the expected version did not match."""
        return await self._store.put(collection, key, value, expected=expected, seconds=seconds)

    async def remove(self, collection: Collection, key: str, *, expected: int | None = None) -> bool:
        """Remove a record; return whether it was removed."""
        return await self._store.remove(collection, key, expected=expected)

    async def write(self, changes: Sequence[Change]) -> list[int | None]:
        """Apply several changes; return the result of each."""
        return await self._store.write(changes)

    async def scan(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Record]:
        """Return the records whose keys begin with `prefix`, including restored ones."""
        read = partial(self._store.scan, collection, prefix, after=after, limit=limit, reverse=reverse)
        return await (self._read_restored(read) if collection in REPLICATED else read())

    async def keys(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[str]:
        """Return the keys of the records that `scan` would return, and of those that cannot be decrypted."""
        read = partial(self._store.keys, collection, prefix, after=after, limit=limit, reverse=reverse)
        return await (self._read_restored(read) if collection in REPLICATED else read())

    async def revisions(self) -> dict[str, int]:
        """Return the revision of each collection, after restoring the store and updating the replica if needed.

        Raises:
            StoreDown: the store failed, or was emptied and cannot be restored.

        """
        found = await self._store.revisions()
        if self._replica.is_up_to_date(found):
            return found
        async with self._lock:
            before = await self._store.revisions()
            await self._replica.restore()
            found = await self._store.revisions()
            await self._replica.follow(found, before)
        return found

    async def now(self) -> float:
        """Return the store's time in epoch seconds."""
        return await self._store.now()

    async def settle(self) -> bool:
        """Wait briefly until earlier writes are safe; return False if that cannot be confirmed."""
        return await self._store.settle()

    async def _read_restored(self, read: Callable[[], Awaitable[FoundT]]) -> FoundT:
        """Read until the store was not emptied during the read, restoring it in between.

        Raises:
            StoreDown: it keeps being emptied.

        """
        for _ in range(_READ_TRIES):
            found = await read()
            if await self._replica.is_complete():
                return found
            async with self._lock:
                await self._replica.restore()
        raise StoreDown("the store keeps being emptied; check the server's persistence and eviction settings")


def _decode(record: Record | None, kind: type[StructT]) -> StructT | None:
    """Return the decoded record; None if there is none, or it cannot be decoded."""
    try:
        return msgspec.msgpack.decode(record.value, type=kind) if record is not None else None
    except msgspec.MsgspecError:
        _log.error("mark_unreadable", key=record.key if record is not None else "")
        return None


def _name(collection: Collection, key: str) -> str:
    return f"{collection.name}/{key}"
