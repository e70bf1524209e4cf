"""Moves everything from one store to another: what is there is written, read back and compared; nothing is removed."""

from collections.abc import AsyncGenerator

import msgspec

from transports.store import PLACES, Cipher, Collection, Record, Store, Unreadable
from transports.store.port import MARKS, REPLICAS

_AT_ONCE = 500
MOVED = tuple(place for place in PLACES if place is not REPLICAS)
"""Who is there now is nothing to move."""


class MigrateError(Exception):
    """Why nothing is moved, or what is not as it should be now; the message is fit for the operator."""


class Side(msgspec.Struct, frozen=True):
    """A store, and what its secret values are sealed with."""

    store: Store
    """As it is: it returns them sealed."""
    sealer: Cipher
    name: str
    """For people."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a place's records."""

    place: Collection
    records: int
    unreadable: tuple[str, ...] = ()
    """Those that no given key opens: moved as they are."""


async def migrate(source: Side, target: Side, *, force: bool = False) -> AsyncGenerator[Moved]:
    """Move place by place. It is safe to do again, and to be broken off: the source stays as it is.

    Raises:
        MigrateError: gateways run on one of the stores, a record does not open, or the target holds other records,
            unless `force`; or what was written is not what is read back.
        OSError: a store is out of order.

    """
    if not force:
        await _check_idle(source)
        await _check_idle(target)
        await _check_readable(source)
        await _check_empty(source, target)
    for place in MOVED:
        yield await _move(place, source, target)


async def records(store: Store, place: Collection) -> AsyncGenerator[Record]:
    """Yield all records of a place, as they are."""
    last = ""
    while names := await store.keys(place, after=last, most=_AT_ONCE):
        for key in names:
            record = await store.get(place, key)
            if record is not None:
                yield record
        last = names[-1]


async def _check_idle(side: Side) -> None:
    running = len(await side.store.keys(REPLICAS))
    if running:
        raise MigrateError(
            f"{running} of a gateway's processes run on {side.name}; stop them, or what they write meanwhile is lost "
            "(one that was killed is forgotten after about a minute; --force moves in any case)",
        )


async def _check_readable(source: Side) -> None:
    for place in MOVED:
        async for record in records(source.store, place):
            try:
                source.sealer.open(place, record.key, record.value)
            except Unreadable as error:
                raise MigrateError(f"{source.name}: {error} (--force moves it as it is)") from None


async def _check_empty(source: Side, target: Side) -> None:
    """Raise MigrateError where the target holds what would not be there after an earlier run of the same move.

    What it was recognised by is no such thing: it is recognised by what the source is from now on.
    """
    for place in (place for place in MOVED if place is not MARKS):
        async for record in records(target.store, place):
            there = await source.store.get(place, record.key)
            if there is None or _opened(source, place, there) != _opened(target, place, record):
                raise MigrateError(
                    f"{target.name} holds records already, as {record.key!r} of {place.name!r}, that {source.name} "
                    "does not hold so (--force replaces those of the same keys, and leaves the others)",
                )


async def _move(place: Collection, source: Side, target: Side) -> Moved:
    count, unreadable = 0, list[str]()
    async for record in records(source.store, place):
        value = _plain(source, place, record)
        if value is None:
            unreadable.append(record.key)
        kept = record.value if value is None else target.sealer.seal(place, record.key, value)
        await target.store.put(place, record.key, kept, seconds=record.seconds)
        await _check_there(place, target, msgspec.structs.replace(record, value=kept))
        count += 1
    return Moved(place=place, records=count, unreadable=tuple(unreadable))


async def _check_there(place: Collection, target: Side, wanted: Record) -> None:
    """Raise MigrateError unless the target holds a record, with the time that it has; one that is over need not."""
    found = await target.store.get(place, wanted.key)
    if found is None and wanted.seconds is not None:
        return
    timed = found is not None and (found.seconds is None) == (wanted.seconds is None)
    if found is None or not timed or found.value != wanted.value:
        raise MigrateError(f"{target.name}: {wanted.key!r} of {place.name!r} was written and is not there as it was")


def _plain(side: Side, place: Collection, record: Record) -> bytes | None:
    """Return a record's value, None where it does not open."""
    try:
        return side.sealer.open(place, record.key, record.value)
    except Unreadable:
        return None


def _opened(side: Side, place: Collection, record: Record) -> bytes:
    """Return a record's value, as it is where it does not open."""
    value = _plain(side, place, record)
    return record.value if value is None else value
