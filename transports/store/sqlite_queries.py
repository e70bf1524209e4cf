"""The SQLite store's queries; each happens inside a transaction of its caller's, which tells the time."""

import sqlite3
from collections.abc import Sequence

import msgspec

from transports.store.port import Bucket, Change, Record

_LOCKS = "~lock"
"""Its revision, beside those of the collections, is the last fence."""
_GRAIN = 1e-6
"""A wait so short is none: it comes from how numbers are rounded."""
_SLACK = 1.0
"""Clocks are set by so many seconds without notice."""
_BEHIND = "\x7f"
"""Behind every character that a key may have."""
_PRUNED = 1000
"""So many records whose time is over go at once."""


class Moment(msgspec.Struct, frozen=True):
    """What a machine's clocks say at once."""

    wall: float
    monotonic: float
    boot: str
    """Since when the monotonic one counts."""


class Span(msgspec.Struct, frozen=True):
    """Which records of a collection, and in which order."""

    collection: str
    prefix: str
    after: str
    limit: int | None
    reverse: bool

    def query(self, columns: str, now: float) -> tuple[str, list[object]]:
        """Return the query that selects `columns` of them, and its values."""
        order, beyond = ("DESC", "<") if self.reverse else ("ASC", ">")
        text = (
            f"SELECT {columns} FROM record WHERE collection = ? AND key >= ? AND key < ?"  # noqa: S608 -- constants
            " AND (until IS NULL OR until > ?)"
        )
        values: list[object] = [self.collection, self.prefix, self.prefix + _BEHIND, now]
        if self.after:
            text += f" AND key {beyond} ?"
            values.append(self.after)
        return f"{text} ORDER BY key {order} LIMIT ?", [*values, -1 if self.limit is None else self.limit]


def follow(database: sqlite3.Connection, moment: Moment) -> None:
    """Keep what has time left at the time that it has left, where the machine's clock was set since the last write.

    Where it was set forward, or the machine slept, only locks and slots are kept: the rest ends in the time of day.
    Source: reliability 6.5.
    """
    row = database.execute("SELECT wall, monotonic, boot FROM moment").fetchone()
    last = Moment(*row) if row is not None else moment
    passed = moment.monotonic - last.monotonic
    known = moment.boot == last.boot and passed > -_SLACK
    shift = moment.wall - last.wall - (passed if known else 0.0)
    if shift < -_SLACK:
        _shift(database, shift, ("record", "lock", "slot"))
        database.execute("UPDATE bucket SET since = since + ?", (shift,))
    elif known and shift > _SLACK:
        _shift(database, shift, ("lock", "slot"))
    elif row is not None and abs(moment.wall - last.wall) < _SLACK:
        return
    database.execute("REPLACE INTO moment VALUES (1, ?, ?, ?)", (moment.wall, moment.monotonic, moment.boot))


def _shift(database: sqlite3.Connection, seconds: float, tables: Sequence[str]) -> None:
    for table in tables:
        database.execute(f"UPDATE {table} SET until = until + ? WHERE until IS NOT NULL", (seconds,))  # noqa: S608 -- constants


def get(database: sqlite3.Connection, collection: str, key: str, now: float) -> Record | None:
    """Return a record that is there and whose time is not over."""
    found = "SELECT value, version, until FROM record WHERE collection = ? AND key = ? AND (until IS NULL OR until > ?)"
    row = database.execute(found, (collection, key, now)).fetchone()
    return None if row is None else _record((key, *row), now)


def put(
    database: sqlite3.Connection,
    row: tuple[str, str, bytes, float | None],
    expected: int | None,
    now: float,
) -> int | None:
    """Keep `(collection, key, value, until)`; return its version, None where the expected one is not there."""
    collection, key, value, until = row
    found = "SELECT version, until FROM record WHERE collection = ? AND key = ?"
    last, lived = database.execute(found, (collection, key)).fetchone() or (0, None)
    if expected is not None and expected != (last if lived is None or lived > now else 0):
        return None
    version = _moved(database, collection)
    database.execute("REPLACE INTO record VALUES (?, ?, ?, ?, ?)", (collection, key, value, version, until))
    return version


def change(database: sqlite3.Connection, change: Change, now: float) -> int | None:
    """Put or remove a record; return its version, 0 for a removal, None where the expected version is not there."""
    if change.value is None:
        return 0 if remove(database, change.collection.name, change.key, change.expected, now) else None
    until = None if change.seconds is None else now + change.seconds
    return put(database, (change.collection.name, change.key, change.value, until), change.expected, now)


def prune(database: sqlite3.Connection, now: float) -> None:
    """Forget records whose time is over; not too many at once."""
    over = "SELECT rowid FROM record WHERE until <= ? LIMIT ?"
    database.execute(f"DELETE FROM record WHERE rowid IN ({over})", (now, _PRUNED))  # noqa: S608 -- constants


def remove(database: sqlite3.Connection, collection: str, key: str, expected: int | None, now: float) -> bool:
    """Forget a record; say whether it was there, in the expected version."""
    there = "collection = ? AND key = ? AND (until IS NULL OR until > ?) AND version = coalesce(?, version)"
    removed = database.execute(f"DELETE FROM record WHERE {there}", (collection, key, now, expected)).rowcount == 1  # noqa: S608 -- constants
    if removed:
        _moved(database, collection)
    return removed


def scan(database: sqlite3.Connection, span: Span, now: float) -> list[Record]:
    """Return the records of a span."""
    return [_record(row, now) for row in database.execute(*span.query("key, value, version, until", now))]


def keys(database: sqlite3.Connection, span: Span, now: float) -> list[str]:
    """Return the keys of a span."""
    return [row[0] for row in database.execute(*span.query("key", now))]


def acquire(database: sqlite3.Connection, name: str, owner: str, seconds: float, now: float) -> int | None:
    """Take a lock that is free, over or the owner's already; return its fence."""
    row = database.execute("SELECT owner, until FROM lock WHERE name = ?", (name,)).fetchone()
    if row and row[0] != owner and row[1] > now:
        return None
    database.execute("DELETE FROM lock WHERE until <= ?", (now,))
    database.execute("REPLACE INTO lock VALUES (?, ?, ?)", (name, owner, now + seconds))
    return _moved(database, _LOCKS)


def free(database: sqlite3.Connection, name: str, holder: str, slots: int, now: float) -> bool:
    """Say whether a slot is free for a holder, or its own."""
    database.execute("DELETE FROM slot WHERE name = ? AND until <= ?", (name, now))
    others = "SELECT COUNT(*) FROM slot WHERE name = ? AND holder <> ?"
    return database.execute(others, (name, holder)).fetchone()[0] < slots


def draw(database: sqlite3.Connection, buckets: Sequence[Bucket], now: float) -> float:
    """Draw a token from each bucket, or from none; return the seconds until there may be one in all."""
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
    """Return the revisions by collection."""
    return dict(database.execute("SELECT collection, number FROM revision WHERE collection <> ?", (_LOCKS,)))


def _moved(database: sqlite3.Connection, collection: str) -> int:
    """Return the next revision: it never comes back, so that it is the version of what was put, too."""
    moved = (
        "INSERT INTO revision VALUES (?, 1) ON CONFLICT (collection) DO UPDATE SET number = number + 1 RETURNING number"
    )
    return database.execute(moved, (collection,)).fetchall()[0][0]
