"""The SQLite store's queries; each happens inside a transaction of its caller's, which tells the time."""

import sqlite3
from collections.abc import Sequence

import msgspec

from transports.store.port import Bucket, Record

_MICROSECONDS = 1_000_000
_BEHIND = "\x7f"
"""Behind every character that a key may have."""
_PRUNED = 100
"""So many records whose time is over go with a write."""


class Span(msgspec.Struct, frozen=True):
    """Which records of a place, and in which order."""

    place: str
    prefix: str
    after: str
    most: int | None
    reverse: bool

    def query(self, columns: str, now: float) -> tuple[str, list[object]]:
        """Return the query that selects `columns` of them, and its values."""
        order, beyond = ("DESC", "<") if self.reverse else ("ASC", ">")
        text = (
            f"SELECT {columns} FROM record WHERE place = ? AND key >= ? AND key < ?"  # noqa: S608 -- constants
            " AND (until IS NULL OR until > ?)"
        )
        values: list[object] = [self.place, self.prefix, self.prefix + _BEHIND, now]
        if self.after:
            text += f" AND key {beyond} ?"
            values.append(self.after)
        return f"{text} ORDER BY key {order} LIMIT ?", [*values, -1 if self.most is None else self.most]


def get(database: sqlite3.Connection, place: str, key: str, now: float) -> Record | None:
    """Return a record that is there and whose time is not over."""
    found = "SELECT value, version, until FROM record WHERE place = ? AND key = ? AND (until IS NULL OR until > ?)"
    row = database.execute(found, (place, key, now)).fetchone()
    return None if row is None else _record((key, *row), now)


def put(
    database: sqlite3.Connection,
    row: tuple[str, str, bytes, float | None],
    expected: int | None,
    now: float,
) -> int | None:
    """Keep `(place, key, value, until)`; return its version, None where the expected one is not there."""
    place, key, value, until = row
    found = "SELECT version, until FROM record WHERE place = ? AND key = ?"
    last, lived = database.execute(found, (place, key)).fetchone() or (0, None)
    if expected is not None and expected != (last if lived is None or lived > now else 0):
        return None
    version = max(int(now * _MICROSECONDS), last + 1)
    database.execute("REPLACE INTO record VALUES (?, ?, ?, ?, ?)", (place, key, value, version, until))
    if until is not None:
        over = "SELECT rowid FROM record WHERE until <= ? LIMIT ?"
        database.execute(f"DELETE FROM record WHERE rowid IN ({over})", (now, _PRUNED))  # noqa: S608 -- constants
    _moved(database, place)
    return version


def remove(database: sqlite3.Connection, place: str, key: str, expected: int | None, now: float) -> bool:
    """Forget a record; say whether it was there, in the expected version."""
    there = "place = ? AND key = ? AND (until IS NULL OR until > ?) AND version = coalesce(?, version)"
    removed = database.execute(f"DELETE FROM record WHERE {there}", (place, key, now, expected)).rowcount == 1  # noqa: S608 -- constants
    if removed:
        _moved(database, place)
    return removed


def scan(database: sqlite3.Connection, span: Span, now: float) -> list[Record]:
    """Return the records of a span."""
    return [_record(row, now) for row in database.execute(*span.query("key, value, version, until", now))]


def keys(database: sqlite3.Connection, span: Span, now: float) -> list[str]:
    """Return the keys of a span."""
    return [row[0] for row in database.execute(*span.query("key", now))]


def acquire(database: sqlite3.Connection, name: str, owner: str, seconds: float, now: float) -> int | None:
    """Take a lease that is free, over or the owner's already; return its fence.

    One that would last longer than was asked for now was taken before the machine's clock went back: it is over.
    """
    row = database.execute("SELECT owner, until, fence FROM lease WHERE name = ?", (name,)).fetchone()
    if row and row[0] not in {owner, ""} and now < row[1] <= now + seconds:
        return None
    fence = max(int(now * _MICROSECONDS), row[2] + 1 if row else 1)
    database.execute("REPLACE INTO lease VALUES (?, ?, ?, ?)", (name, owner, now + seconds, fence))
    return fence


def free(database: sqlite3.Connection, name: str, holder: str, seats: int, now: float) -> bool:
    """Say whether a seat is free for a holder, or its own."""
    database.execute("DELETE FROM seat WHERE name = ? AND until <= ?", (name, now))
    others = "SELECT COUNT(*) FROM seat WHERE name = ? AND holder <> ?"
    return database.execute(others, (name, holder)).fetchone()[0] < seats


def draw(database: sqlite3.Connection, buckets: Sequence[Bucket], now: float) -> float:
    """Draw a token from each bucket, or from none; return the seconds until there may be one in all."""
    levels: dict[str, float] = {}
    for bucket in buckets:
        row = database.execute("SELECT level, since FROM bucket WHERE name = ?", (bucket.name,)).fetchone()
        level, since = row or (bucket.most, now)
        levels[bucket.name] = min(bucket.most, level + max(0.0, now - since) * bucket.per_second)
    wait = max(((1.0 - levels[bucket.name]) / bucket.per_second for bucket in buckets), default=0.0)
    if wait > 0.0:
        return wait
    drawn = [(name, level - 1.0, now) for name, level in levels.items()]
    database.executemany("REPLACE INTO bucket VALUES (?, ?, ?)", drawn)
    return 0.0


def _record(row: tuple[str, bytes, int, float | None], now: float) -> Record:
    key, value, version, until = row
    return Record(key=key, value=value, version=version, seconds=None if until is None else until - now)


def _moved(database: sqlite3.Connection, place: str) -> None:
    moved = "INSERT INTO revision VALUES (?, 1) ON CONFLICT (place) DO UPDATE SET number = number + 1"
    database.execute(moved, (place,))
