"""The usage ledger in an SQLite file of its own, which all processes of one machine share.

Names (of licenses, models and so on) are stored once, in `name`; rows have their numbers. Records are ordered by time
and id, so a record that is appended again finds itself. A job may be ended by two processes at different times: `job`
has the ids of those that were counted.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime, time
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread

from service.usage.ledger import DIMENSIONS, SUMS, Days, UsageQuery, UsageSums, sums_of
from service.usage.usage_record import REQUEST_ID, UsageRecord

_BUSY_SECONDS = 5.0
_SUM_COLUMNS = ", ".join(f"{name} INTEGER NOT NULL" for name in SUMS)
_NAMED = (*DIMENSIONS, "answered", "error")
_SCHEMA = f"""
PRAGMA journal_mode=WAL;
CREATE TABLE IF NOT EXISTS name (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS record (
    time INTEGER NOT NULL, id BLOB NOT NULL, {", ".join(f"{name} INTEGER NOT NULL" for name in _NAMED)},
    input_tokens INTEGER, output_tokens INTEGER, reasoning_tokens INTEGER, images INTEGER, videos INTEGER,
    research INTEGER, status INTEGER NOT NULL, first_token INTEGER, duration INTEGER NOT NULL,
    PRIMARY KEY (time, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sums (
    day INTEGER NOT NULL, {", ".join(f"{name} INTEGER NOT NULL" for name in DIMENSIONS)}, {_SUM_COLUMNS},
    PRIMARY KEY (day, {", ".join(DIMENSIONS)})
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS job (id TEXT PRIMARY KEY, time INTEGER NOT NULL) WITHOUT ROWID;
"""
_INSERT = f"INSERT OR IGNORE INTO record VALUES ({', '.join('?' * (11 + len(_NAMED)))})"  # noqa: S608 -- constants
_ADD = (
    f"INSERT INTO sums VALUES ({', '.join('?' * (1 + len(DIMENSIONS) + len(SUMS)))}) "  # noqa: S608 -- constants
    f"ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in SUMS)}"
)
_MILLISECONDS = 1000
_DIGITS = frozenset("0123456789abcdef")

ResultT = TypeVar("ResultT")


class SqliteUsageLedger:
    """Implements `UsageLedger` with a file."""

    def __init__(self, path: Path, days: Days) -> None:
        """Use the file at `path`, which is created with the first call."""
        self._path, self._days = path, days
        self._database: sqlite3.Connection | None = None
        self._alone = anyio.Lock()

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    async def append(self, records: Sequence[UsageRecord]) -> None:
        """Add records, as `UsageLedger.append`."""
        await self._run(partial(self._append, records))

    async def sums(self, query: UsageQuery) -> list[UsageSums]:
        """Return a page of the groups, as `UsageLedger.sums`."""
        return await self._run(partial(_sums, query))

    async def records(
        self, *, license_id: str | None = None, after: tuple[float, str] | None = None, limit: int = 1000
    ) -> list[UsageRecord]:
        """Return a page of records, as `UsageLedger.records`."""
        return await self._run(partial(_records, license_id, after, limit))

    async def prune(self, now: float) -> None:
        """Delete what is too old, as `UsageLedger.prune`."""
        await self._run(partial(self._prune, now))

    async def _run(self, query: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """Run a query in a transaction, in a thread.

        Raises:
            OSError: the file cannot be used.

        """

        def run() -> ResultT:
            try:
                if self._database is None or not self._path.exists():
                    self.close()
                    self._database = _open(self._path)
                with self._database as database:
                    database.execute("BEGIN IMMEDIATE")
                    return query(database)
            except sqlite3.Error as error:
                with suppress(sqlite3.Error):
                    self.close()
                raise OSError(None, f"the usage ledger {self._path}: {error}") from None

        async with self._alone:
            return await anyio.to_thread.run_sync(run)

    def _append(self, records: Sequence[UsageRecord], database: sqlite3.Connection) -> None:
        totals: dict[tuple[int, ...], list[int]] = {}
        names = _Names(database)
        for record in records:
            if not record.id.startswith(REQUEST_ID):
                job = "INSERT OR IGNORE INTO job VALUES (?, ?)"
                if not database.execute(job, (record.id, _ms(record.finished))).rowcount:
                    continue
            numbers = [names.number(getattr(record, name)) for name in _NAMED]
            if not database.execute(_INSERT, _row(record, numbers)).rowcount:
                continue
            key = (self._days.of(record.finished), *numbers[: len(DIMENSIONS)])
            total = totals.setdefault(key, [0] * len(SUMS))
            for index, value in enumerate(sums_of(record)):
                total[index] += value
        database.executemany(_ADD, [(*key, *total) for key, total in totals.items()])

    def _prune(self, now: float, database: sqlite3.Connection) -> None:
        first = self._days.first_kept(now)
        database.execute("DELETE FROM sums WHERE day < ?", (first,))
        row = database.execute("SELECT MIN(time) FROM record").fetchone()
        if row[0] is None or self._days.of(row[0] / _MILLISECONDS) >= first:
            return
        midnight = _ms(datetime.combine(date.fromordinal(first), time.min, self._days.zone).timestamp())
        database.execute("DELETE FROM record WHERE time < ?", (midnight,))
        database.execute("DELETE FROM job WHERE time < ?", (midnight,))
        used = " UNION ".join(f"SELECT {name} FROM record" for name in _NAMED)  # noqa: S608 -- constants
        sums = " UNION ".join(f"SELECT {name} FROM sums" for name in DIMENSIONS)  # noqa: S608 -- constants
        database.execute(f"DELETE FROM name WHERE id NOT IN ({used} UNION {sums})")  # noqa: S608 -- constants


class _Names:
    """The numbers of names, within one transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._known: dict[str, int] = {}

    def number(self, text: str) -> int:
        """Return the number of a name; a new name gets one."""
        known = self._known.get(text)
        if known is None:
            self._database.execute("INSERT OR IGNORE INTO name (text) VALUES (?)", (text,))
            (known,) = self._database.execute("SELECT id FROM name WHERE text = ?", (text,)).fetchone()
            self._known[text] = known
        return known


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        database.executescript(_SCHEMA)
        database.execute("PRAGMA synchronous=FULL")  # the journal is deleted next
    except sqlite3.Error:
        database.close()
        raise
    return database


def _row(record: UsageRecord, numbers: Sequence[int]) -> tuple[Any, ...]:
    return (
        _ms(record.finished),
        _packed(record.id),
        *numbers,
        record.input_tokens,
        record.output_tokens,
        record.reasoning_tokens,
        record.images,
        record.videos,
        record.research,
        record.status,
        None if record.first_token is None else _ms(record.first_token),
        _ms(record.duration),
    )


def _packed(identity: str) -> bytes:
    """Return an id as it is stored: half as long for a request."""
    digits = identity.removeprefix(REQUEST_ID)
    packed = bytes.fromhex(digits) if digits != identity and set(digits) <= _DIGITS and not len(digits) % 2 else None
    return b"\1" + identity.encode() if packed is None else b"\0" + packed


def _ms(seconds: float) -> int:
    return round(seconds * _MILLISECONDS)


def _sums(query: UsageQuery, database: sqlite3.Connection) -> list[UsageSums]:
    conditions, values = ["1"], list[Any]()
    for name in ("license", "user", "model"):
        wanted = getattr(query, name)
        if wanted is not None:
            conditions.append(f"sums.{name} = (SELECT id FROM name WHERE text = ?)")  # noqa: S608 -- constants
            values.append(wanted)
    for sign, day in ((">=", query.since), ("<=", query.until)):
        if day is not None:
            conditions.append(f"day {sign} ?")
            values.append(day.toordinal())
    by_day = query.by == "day"
    group = "day" if by_day else "name.text"
    joined = "" if by_day else f"JOIN name ON name.id = sums.{query.by}"
    if query.after is not None:
        conditions.append(f"{group} > ?")
        values.append(date.fromisoformat(query.after).toordinal() if by_day else query.after)
    totals = ", ".join(f"SUM({name})" for name in SUMS)
    found = database.execute(
        f"SELECT {group}, {totals} FROM sums {joined} WHERE {' AND '.join(conditions)} "  # noqa: S608 -- constants
        f"GROUP BY {group} ORDER BY {group} LIMIT ?",
        (*values, query.limit),
    )
    return [
        UsageSums(group=date.fromordinal(key).isoformat() if by_day else key, **dict(zip(SUMS, totals, strict=True)))
        for key, *totals in found
    ]


def _records(
    license_id: str | None, after: tuple[float, str] | None, limit: int, database: sqlite3.Connection
) -> list[UsageRecord]:
    conditions, values = ["1"], list[Any]()
    if license_id is not None:
        conditions.append("license = (SELECT id FROM name WHERE text = ?)")
        values.append(license_id)
    if after is not None:
        conditions.append("(time, record.id) > (?, ?)")
        values += [_ms(after[0]), _packed(after[1])]
    names = ", ".join(f"(SELECT text FROM name WHERE name.id = record.{name})" for name in _NAMED)  # noqa: S608 -- constants
    found = database.execute(
        f"SELECT time, record.id, {names}, {', '.join(SUMS[2:])}, "  # noqa: S608 -- constants
        f"status, first_token, duration FROM record WHERE {' AND '.join(conditions)} ORDER BY time, record.id LIMIT ?",
        (*values, limit),
    )
    return [_record(*row) for row in found]


def _record(milliseconds: int, identity: bytes, *rest: Any) -> UsageRecord:
    names, numbers = rest[: len(_NAMED)], rest[len(_NAMED) :]
    *counts, status, first, duration = numbers
    return UsageRecord(
        id=identity[1:].decode() if identity[:1] == b"\1" else REQUEST_ID + identity[1:].hex(),
        finished=milliseconds / _MILLISECONDS,
        status=status,
        first_token=None if first is None else first / _MILLISECONDS,
        duration=duration / _MILLISECONDS,
        **dict(zip(_NAMED, names, strict=True)),
        **dict(zip(SUMS[2:], counts, strict=True)),
    )
