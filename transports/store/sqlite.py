"""The store of one machine: a SQLite file (WAL) that the processes of one gateway share, readable by its owner only.

Reads run directly on the event loop, because they take less time than starting a thread. Writes go through one
writer: see `transports.store.sqlite_writer`. A write to a durable collection returns once the disk has it.

Expiries are stored as wall-clock times, because all processes of the machine share that clock, also after a restart.
If the clock was set, `_adjust_clock` shifts the stored times in the next write, so the time left stays the same.
Example: a lock expires at 1000.0 and the clock is set back from 990 to 500: it then expires at 510.0, still in 10 s.
"""

import errno
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from transports.clock import Clock
from transports.store import sqlite_queries
from transports.store.encryption import Cipher
from transports.store.port import FULL, Bucket, Change, Collection, KeyRange, Record, StoreDown
from transports.store.records import BaseRecords
from transports.store.sqlite_writer import Writer, is_busy, transaction

_BUSY_SECONDS = 5.0
_MAINTENANCE_SECONDS = 1.0
_DRIFT_SECONDS = 0.1
_SCHEMA = """
PRAGMA journal_mode=WAL;
CREATE TABLE IF NOT EXISTS record (
    collection TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, version INTEGER NOT NULL, until REAL,
    PRIMARY KEY (collection, key)
);
CREATE INDEX IF NOT EXISTS record_until ON record (until) WHERE until IS NOT NULL;
CREATE TABLE IF NOT EXISTS revision (collection TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS lock (name TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL);
CREATE TABLE IF NOT EXISTS slot (name TEXT, holder TEXT, until REAL NOT NULL, PRIMARY KEY (name, holder))
WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bucket (name TEXT PRIMARY KEY, level REAL NOT NULL, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS clock (
    one INTEGER PRIMARY KEY CHECK (one = 1), wall REAL NOT NULL, monotonic REAL NOT NULL, boot TEXT NOT NULL
);
"""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MAGIC = b"SQLite format 3\0"
_HEADER = 100
_PAGE = slice(16, 18)
_LARGEST_PAGE = 65536
"""Page size that the header stores as 1."""

Database = sqlite3.Connection
ResultT = TypeVar("ResultT")


class SqliteStore(BaseRecords):
    """A store in a SQLite file, with all three ports."""

    def __init__(self, path: Path, clock: Clock, cipher: Cipher | None = None) -> None:
        """Open the file at `path`, creating it if missing; call `close` when done.

        Raises:
            OSError: it cannot be opened or created.

        """
        super().__init__(cipher)
        self._path, self._clock = path, clock
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._adjusted_at = self._pruned_at = float("-inf")
        self._offset = 0.0
        """Wall clock minus monotonic clock at the last adjustment."""
        self._boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
        _check_whole(path)
        try:
            with closing(self._connect(_BUSY_SECONDS)) as database:
                database.executescript(_SCHEMA)
                transaction(database, self._adjust_clock, "BEGIN IMMEDIATE")
            self._quick = self._connect(0.0)
            self._quick.execute("PRAGMA wal_autocheckpoint=0")  # that waits for the disk: a thread does it
            self._writer = Writer(self._quick, lambda: self._connect(_BUSY_SECONDS))
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
                raise OSError(errno.EINVAL, "is not a database of this gateway; choose another path") from None
            raise self._down(error) from error

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    async def revisions(self) -> dict[str, int]:
        """Return the revision of each collection."""
        return await self._read(sqlite_queries.revisions)

    async def acquire(self, name: str, owner: str, seconds: float, epoch: str | None = None) -> int | None:
        """Acquire a lock unless another owner holds it; return a fencing token."""
        if epoch:
            return None

        def query(database: Database) -> int | None:
            return sqlite_queries.acquire(database, name, owner, seconds, self._clock.wall())

        return await self._transact(query, durable=True)

    async def renew(self, name: str, owner: str, seconds: float) -> bool:
        """Extend a lock; return False if the owner no longer holds it."""

        def query(database: Database) -> bool:
            now = self._clock.wall()
            held = "UPDATE lock SET until = ? WHERE name = ? AND owner = ? AND until > ?"
            return database.execute(held, (now + seconds, name, owner, now)).rowcount == 1

        return await self._transact(query)

    async def release(self, name: str, owner: str) -> None:
        """Release a lock if the owner holds it."""
        freed = "DELETE FROM lock WHERE name = ? AND owner = ?"
        await self._transact(lambda database: database.execute(freed, (name, owner)))

    async def take_slot(
        self,
        name: str,
        holder: str,
        *,
        slots: int,
        seconds: float,
        buckets: Sequence[Bucket] = (),
    ) -> float:
        """Take a slot and a token from each bucket, or nothing."""

        def query(database: Database) -> float:
            now = self._clock.wall()
            if not sqlite_queries.has_free_slot(database, name, holder, slots, now):
                return FULL
            wait = sqlite_queries.take_tokens(database, buckets, now)
            if not wait:
                database.execute("REPLACE INTO slot VALUES (?, ?, ?)", (name, holder, now + seconds))
            return wait

        return await self._transact(query)

    async def renew_slots(self, slots: Sequence[tuple[str, str]], seconds: float) -> None:
        """Extend slots to `seconds` from now."""
        until = self._clock.wall() + seconds
        kept = [(name, holder, until) for name, holder in slots]
        await self._transact(lambda database: database.executemany("REPLACE INTO slot VALUES (?, ?, ?)", kept))

    async def release_slots(self, slots: Sequence[tuple[str, str]]) -> None:
        """Release slots."""
        left = "DELETE FROM slot WHERE name = ? AND holder = ?"
        await self._transact(lambda database: database.executemany(left, slots))

    async def count_slots(self, name: str) -> int:
        """Return the number of slots taken under a name."""
        taken = "SELECT COUNT(*) FROM slot WHERE name = ? AND until > ?"
        return await self._read(lambda database: database.execute(taken, (name, self._clock.wall())).fetchone()[0])

    async def now(self) -> float:
        """Return the machine's time in epoch seconds."""
        return self._clock.wall()

    async def epoch(self) -> str:
        """Return an empty string: locks are in the file and cannot be lost separately."""
        return ""

    async def settle(self) -> bool:
        """Return True at once: durable writes are on disk when they return."""
        return True

    async def _get(self, collection: Collection, key: str) -> Record | None:
        return await self._read(lambda database: sqlite_queries.get(database, collection.name, key, self._clock.wall()))

    async def _write(self, changes: Sequence[Change]) -> list[int | None]:
        def query(database: Database) -> list[int | None]:
            now = self._clock.wall()
            if abs(now - self._pruned_at) >= _MAINTENANCE_SECONDS:
                sqlite_queries.prune(database, now)
                self._pruned_at = now
            return [sqlite_queries.change(database, change, now) for change in changes]

        return await self._transact(query, durable=any(change.collection.durable for change in changes))

    async def _scan(self, key_range: KeyRange) -> list[Record]:
        return await self._read(lambda database: sqlite_queries.scan(database, key_range, self._clock.wall()))

    async def _keys(self, key_range: KeyRange) -> list[str]:
        return await self._read(lambda database: sqlite_queries.keys(database, key_range, self._clock.wall()))

    def _connect(self, timeout: float) -> Database:
        database = sqlite3.connect(self._path, timeout=timeout, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA synchronous=NORMAL")
        except sqlite3.Error:
            database.close()
            raise
        return database

    async def _read(self, query: Callable[[Database], ResultT]) -> ResultT:
        """Run a read-only query.

        Raises:
            StoreDown: the database failed.

        """
        try:
            try:
                return transaction(self._quick, query, "BEGIN")
            except sqlite3.OperationalError as error:
                if not is_busy(error):  # only while another process recovers or removes the journal
                    raise

            def read_in_thread() -> ResultT:
                with closing(self._connect(_BUSY_SECONDS)) as database:
                    return transaction(database, query, "BEGIN")

            return await anyio.to_thread.run_sync(read_in_thread)
        except sqlite3.Error as error:
            raise self._down(error) from error

    async def _transact(self, query: Callable[[Database], ResultT], *, durable: bool = False) -> ResultT:
        """Run a query that writes; with `durable`, return once the change is on disk.

        Raises:
            StoreDown: the database failed; nothing was changed.

        """

        def adjusted(database: Database) -> ResultT:
            self._adjust_clock(database)
            return query(database)

        try:
            return await self._writer.write(adjusted, durable=durable)
        except sqlite3.Error as error:
            self._adjusted_at = float("-inf")  # the transaction's clock adjustment was rolled back
            raise self._down(error) from error

    def _adjust_clock(self, database: Database) -> None:
        """Adjust expiries if the wall clock was set; checked once a second while both clocks run alike."""
        wall, now = self._clock.wall(), self._clock.monotonic()
        if now - self._adjusted_at < _MAINTENANCE_SECONDS and abs(wall - now - self._offset) < _DRIFT_SECONDS:
            return
        sqlite_queries.adjust_expiries(database, sqlite_queries.ClockReading(wall, now, self._boot))
        self._adjusted_at, self._offset = now, wall - now

    def _down(self, error: sqlite3.Error) -> StoreDown:
        if is_busy(error):
            return StoreDown(f"the store {self._path} is locked by another process; try again")
        return StoreDown(f"the store {self._path} failed: {error}")


def _check_whole(path: Path) -> None:
    """Raise StoreDown if the file was truncated: SQLite would notice late, or start with an empty database."""
    journal = path.with_name(f"{path.name}-wal")
    if journal.exists() and journal.stat().st_size:
        return  # the write-ahead log completes the file
    with path.open("rb") as file:
        header = file.read(_HEADER)
    size, page = path.stat().st_size, int.from_bytes(header[_PAGE])
    short = size < _HEADER or size % (page if page > 1 else _LARGEST_PAGE)
    if size and short and header.startswith(_MAGIC[:size]):
        raise StoreDown(f"the store {path} is truncated; restore it from a backup")
