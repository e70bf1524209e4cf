"""Queries of the SQLite store. The caller runs each in a transaction and passes the current time."""

import sqlite3
from collections.abc import Sequence

import msgspec

from transports.store.port import Bucket, Change, KeyRange, Record

_LOCKS = "~lock"
"""Pseudo collection whose revision is the last fencing token."""
_GRAIN = 1e-6
"""Shorter waits are rounding errors."""
_SLACK = 1.0
"""Smaller clock corrections, in seconds, are ignored."""
_BEHIND = "\x7f"
"""Sorts after every character that a key may have."""
_PRUNED = 1000
"""Most expired records to delete at once."""
_PRUNED_BYTES = 1024 * 1024
"""Most bytes to delete at once, but for the last record: SQLite overwrites every page that it frees."""


class ClockReading(msgspec.Struct, frozen=True):
    """One reading of a machine's clocks."""

    wall: float
    monotonic: float
    boot: str
    """Id of the boot since which the monotonic clock counts."""


def adjust_expiries(database: sqlite3.Connection, reading: ClockReading) -> None:
    """Shift expiries if the machine's wall clock was set since the last write, so that the time left stays the same.

    If it was set forward, or the machine slept, only locks and slots are shifted: records expire by the wall clock.
    Source: reliability 2.5.
    """
    row = database.execute("SELECT wall, monotonic, boot FROM clock").fetchone()
    last = ClockReading(*row) if row is not None else reading
    passed = reading.monotonic - last.monotonic
    known = reading.boot == last.boot and passed > -_SLACK
    shift = reading.wall - last.wall - (passed if known else 0.0)
    if shift < -_SLACK:
        _shift(database, shift, ("record", "lock", "slot"))
        database.execute("UPDATE bucket SET since = since + ?", (shift,))
    elif known and shift > _SLACK:
        _shift(database, shift, ("lock", "slot"))
    elif row is not None and abs(reading.wall - last.wall) < _SLACK:
        return
    database.execute("REPLACE INTO clock VALUES (1, ?, ?, ?)", (reading.wall, reading.monotonic, reading.boot))


def _shift(database: sqlite3.Connection, seconds: float, tables: Sequence[str]) -> None:
    for table in tables:
        database.execute(f"UPDATE {table} SET until = until + ? WHERE until IS NOT NULL", (seconds,))  # noqa: S608 -- constants


def get(database: sqlite3.Connection, collection: str, key: str, now: float) -> Record | None:
    """Return a record that has not expired."""
    found = "SELECT value, version, until FROM record WHERE collection = ? AND key = ? AND (until IS NULL OR until > ?)"
    row = database.execute(found, (collection, key, now)).fetchone()
    return None if row is None else _record((key, *row), now)


def change(database: sqlite3.Connection, change: Change, now: float) -> int | None:
    """Put or remove a record; return its version, 0 for a removal, or None if the expected version did not match."""
    collection = change.collection.name
    found = "SELECT version FROM record WHERE collection = ? AND key = ? AND (until IS NULL OR until > ?)"
    row = database.execute(found, (collection, change.key, now)).fetchone()
    if change.expected is not None and change.expected != (row[0] if row is not None else 0):
        return None
    if change.value is None:
        if row is None:
            return None
        database.execute("DELETE FROM record WHERE collection = ? AND key = ?", (collection, change.key))
        _next_revision(database, collection)
        return 0
    version, until = _next_revision(database, collection), None if change.seconds is None else now + change.seconds
    record = (collection, change.key, change.value, version, until)
    database.execute("REPLACE INTO record VALUES (?, ?, ?, ?, ?)", record)
    return version


def prune(database: sqlite3.Connection, now: float) -> None:
    """Delete expired records, oldest first: a limited number, and of long ones few."""
    over = "SELECT rowid, length(value) FROM record WHERE until <= ? ORDER BY until LIMIT ?"
    size, deleted = 0, list[tuple[int]]()
    for row, length in database.execute(over, (now, _PRUNED)):
        deleted.append((row,))
        size += length
        if size > _PRUNED_BYTES:
            break
    database.executemany("DELETE FROM record WHERE rowid = ?", deleted)


def scan(database: sqlite3.Connection, key_range: KeyRange, now: float) -> list[Record]:
    """Return the records of a key range."""
    return [_record(row, now) for row in _select(database, "key, value, version, until", key_range, now)]


def keys(database: sqlite3.Connection, key_range: KeyRange, now: float) -> list[str]:
    """Return the keys of a key range."""
    return [row[0] for row in _select(database, "key", key_range, now)]


def _select(database: sqlite3.Connection, columns: str, key_range: KeyRange, now: float) -> sqlite3.Cursor:
    order, beyond = ("DESC", "<") if key_range.reverse else ("ASC", ">")
    text = (
        f"SELECT {columns} FROM record WHERE collection = ? AND key >= ? AND key < ?"  # noqa: S608 -- constants
        " AND (until IS NULL OR until > ?)"
    )
    values: list[object] = [key_range.collection.name, key_range.prefix, key_range.prefix + _BEHIND, now]
    if key_range.after:
        text += f" AND key {beyond} ?"
        values.append(key_range.after)
    limit = -1 if key_range.limit is None else key_range.limit
    return database.execute(f"{text} ORDER BY key {order} LIMIT ?", [*values, limit])


def acquire(database: sqlite3.Connection, name: str, owner: str, seconds: float, now: float) -> int | None:
    """Take a lock that is free, expired or already the owner's; return a fencing token."""
    row = database.execute("SELECT owner, until FROM lock WHERE name = ?", (name,)).fetchone()
    if row and row[0] != owner and row[1] > now:
        return None
    database.execute("DELETE FROM lock WHERE until <= ?", (now,))
    database.execute("REPLACE INTO lock VALUES (?, ?, ?)", (name, owner, now + seconds))
    return _next_revision(database, _LOCKS)


def has_free_slot(database: sqlite3.Connection, name: str, holder: str, slots: int, now: float) -> bool:
    """Return whether a slot is free for a holder or already taken by it."""
    database.execute("DELETE FROM slot WHERE name = ? AND until <= ?", (name, now))
    others = "SELECT COUNT(*) FROM slot WHERE name = ? AND holder <> ?"
    return database.execute(others, (name, holder)).fetchone()[0] < slots


def take_tokens(database: sqlite3.Connection, buckets: Sequence[Bucket], now: float) -> float:
    """Take a token from each bucket, or from none; return the seconds until all buckets may have one."""
    levels: dict[str, float] = {}
    for bucket in buckets:
        row = database.execute("SELECT level, since FROM bucket WHERE name = ?", (bucket.name,)).fetchone()
        level, since = row or (bucket.capacity, now)
        levels[bucket.name] = min(bucket.capacity, level + max(0.0, now - since) * bucket.per_second)
    wait = max(((1.0 - levels[bucket.name]) / bucket.per_second for bucket in buckets), default=0.0)
    if wait > _GRAIN:
        return wait
    drawn = [(name, level - 1.0, now) for name, level in levels.items()]
    database.executemany("REPLACE INTO bucket VALUES (?, ?, ?)", drawn)
    return 0.0


def _record(row: tuple[str, bytes, int, float | None], now: float) -> Record:
    key, value, version, until = row
    return Record(key=key, value=value, version=version, seconds=None if until is None else until - now)


def revisions(database: sqlite3.Connection) -> dict[str, int]:
    """Return the revision of each collection."""
    return dict(database.execute("SELECT collection, number FROM revision WHERE collection <> ?", (_LOCKS,)))


def _next_revision(database: sqlite3.Connection, collection: str) -> int:
    """Increment and return the revision; it never repeats, so it is also the version of the record that was put."""
    query = (
        "INSERT INTO revision VALUES (?, 1) ON CONFLICT (collection) DO UPDATE SET number = number + 1 RETURNING number"
    )
    return database.execute(query, (collection,)).fetchall()[0][0]
