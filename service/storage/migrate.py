"""Copies all records from one store to another, reads each one back and compares it; nothing is removed."""

from collections.abc import AsyncGenerator

import msgspec

from transports.store import COLLECTIONS, Cipher, Collection, Record, Records, Unreadable
from transports.store.port import MARKS, PROCESSES, SealedRecords

_PAGE_SIZE = 500
MIGRATED = tuple(collection for collection in COLLECTIONS if collection is not PROCESSES)
"""All collections but the list of running processes, valid only in the store that these processes use."""


class MigrateError(Exception):
    """The migration was refused or failed verification; the message is safe to show to the operator."""


class StoreEndpoint(msgspec.Struct, frozen=True):
    """One end of a migration: a store and the cipher of its values."""

    records: Records
    """The store's records without decryption: values are as they are stored."""
    cipher: Cipher
    name: str
    """Shown to the operator."""


class MigratedCollection(msgspec.Struct, frozen=True, kw_only=True):
    """Result of copying one collection."""

    collection: Collection
    records: int
    unreadable: tuple[str, ...] = ()
    """Keys of the records that no given key decrypts; they are copied unchanged."""


async def migrate(
    source: StoreEndpoint, target: StoreEndpoint, *, force: bool = False
) -> AsyncGenerator[MigratedCollection]:
    """Copy one collection after another. The source is never changed, so a run may be interrupted and repeated.

    Raises:
        MigrateError: without `force`: a gateway runs on one of the stores, a record cannot be decrypted, or the
            target holds other records; in any case: a record that was read back differs from what was written.
        SealedRecords: without `force`: records of the source need a key that was not given.
        OSError: a store failed.

    """
    if not force:
        await _check_idle(source)
        await _check_idle(target)
        await _check_readable(source)
        await _check_empty(source, target)
    for collection in MIGRATED:
        yield await _copy(collection, source, target)


async def all_records(records: Records, collection: Collection) -> AsyncGenerator[Record]:
    """Yield all records of a collection, without decrypting them."""
    last = ""
    while names := await records.keys(collection, after=last, limit=_PAGE_SIZE):
        for key in names:
            record = await records.get(collection, key)
            if record is not None:
                yield record
        last = names[-1]


async def _check_idle(endpoint: StoreEndpoint) -> None:
    running = len(await endpoint.records.keys(PROCESSES))
    if running:
        raise MigrateError(
            f"{running} gateway process(es) still use {endpoint.name}: stop them first, or their writes will be lost "
            "(a killed process is forgotten after about a minute; --force skips this check)",
        )


async def _check_readable(source: StoreEndpoint) -> None:
    sealed = 0
    for collection in MIGRATED:
        async for record in all_records(source.records, collection):
            if collection.encrypted and not source.cipher.knows(record.value):
                sealed += 1
                continue
            try:
                source.cipher.decrypt(collection, record.key, record.value)
            except Unreadable as error:
                raise MigrateError(f"{source.name}: {error} (--force copies it unchanged)") from None
    if sealed:
        raise SealedRecords(sealed)


async def _check_empty(source: StoreEndpoint, target: StoreEndpoint) -> None:
    """Raise MigrateError if the target holds a record that an earlier run of this migration would not have written.

    The target's own marks are ignored: the source's marks replace them.
    """
    for collection in (collection for collection in MIGRATED if collection is not MARKS):
        async for record in all_records(target.records, collection):
            value = _decrypted_or_raw(target, collection, record)
            found = await source.records.get(collection, record.key)
            if found is None or _decrypted_or_raw(source, collection, found) != value:
                raise MigrateError(
                    f"{target.name} is not empty: its record {record.key!r} of {collection.name!r} is missing from, or "
                    f"different in, {source.name} (--force replaces records with the same keys and keeps the others)",
                )


async def _copy(collection: Collection, source: StoreEndpoint, target: StoreEndpoint) -> MigratedCollection:
    """Copy a collection; raise MigrateError unless each record, with its expiry, reads back as it was written."""
    count, unreadable = 0, list[str]()
    async for record in all_records(source.records, collection):
        value = _decrypted(source, collection, record)
        if value is None:
            unreadable.append(record.key)
        stored = record.value if value is None else target.cipher.encrypt(collection, record.key, value)
        await target.records.put(collection, record.key, stored, seconds=record.seconds)
        found = await target.records.get(collection, record.key)
        expired = found is None and record.seconds is not None
        same = found is not None and found.value == stored and (found.seconds is None) == (record.seconds is None)
        if not (expired or same):
            raise MigrateError(
                f"{target.name}: {record.key!r} of {collection.name!r} reads back differently than written",
            )
        count += 1
    return MigratedCollection(collection=collection, records=count, unreadable=tuple(unreadable))


def _decrypted(endpoint: StoreEndpoint, collection: Collection, record: Record) -> bytes | None:
    """Return a record's decrypted value, or None if it cannot be decrypted."""
    try:
        return endpoint.cipher.decrypt(collection, record.key, record.value)
    except Unreadable:
        return None


def _decrypted_or_raw(endpoint: StoreEndpoint, collection: Collection, record: Record) -> bytes:
    """Return a record's decrypted value, or its stored value if it cannot be decrypted."""
    value = _decrypted(endpoint, collection, record)
    return record.value if value is None else value
