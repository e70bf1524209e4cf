"""The store of one machine: a SQLite file (WAL) that the processes of one gateway share, readable by its owner only.

Reads run directly on the event loop, because they take less time than starting a thread. Writes go through one
writer: see `transports.store.sqlite_writer`. A write to a durable collection returns once the disk has it.

Expiries are stored as wall-clock times, because all processes of the machine share that clock, also after a restart.
If the clock was set, `_adjust_clock` shifts the stored times in the next write, so the time left stays the same.
Example: a lock expires at 1000.0 and the clock is set back from 990 to 500: it then expires at 510.0, still in 10 s.
"""

import errno
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from transports.clock import Clock
from transports.store import sqlite_queries
from transports.store.encryption import LONGEST_MARK, SEALED, Cipher
from transports.store.port import FULL, Bucket, Change, Collection, KeyRange, Record, StoreDown
from transports.store.records import BaseRecords
from transports.store.sqlite_file import BUSY_SECONDS, FOREIGN, FileObserver, FileReplaced, SqliteFile
from transports.store.sqlite_writer import Writer, is_busy, transaction

_MAINTENANCE_SECONDS = 1.0
_DRIFT_SECONDS = 0.1
_BOOT = Path("/proc/sys/kernel/random/boot_id")
Database = sqlite3.Connection
ResultT = TypeVar("ResultT")


class SqliteStore(BaseRecords):
    """A store in a SQLite file, with all three ports."""

    def __init__(
        self, path: Path, clock: Clock, cipher: Cipher | None = None, observer: FileObserver | None = None
    ) -> None:
        """Open the file at `path`, creating it if missing; call `close` when done.

        `observer` is notified if the file cannot be used later.

        Raises:
            OSError: it cannot be opened or created.

        """
        super().__init__(cipher)
        self._path, self._clock = path, clock
        self._adjusted_at = self._pruned_at = float("-inf")
        self._offset = 0.0
        """Wall clock minus monotonic clock at the last adjustment."""
        self._boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
        self._looked_at = clock.monotonic()
        """When it was last checked that the path leads to the open file."""
        try:
            self._file = SqliteFile(path, clock, self._check_keys, observer)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
                raise OSError(errno.EINVAL, FOREIGN) from None
            raise self._down(error) from error
        self._writer = Writer(self._file)
        try:
            transaction(self._file.patient, self._adjust_clock, "BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._file.close()
            raise self._down(error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def revisions(self) -> dict[str, int]:
        """Return the revision of each collection; at most once a second, follow a file that was replaced."""
        now = self._clock.monotonic()
        if now - self._looked_at >= _MAINTENANCE_SECONDS:
            self._looked_at = now
            try:
                self._file.check()
            except FileReplaced:
                await self._transact(lambda _: None, durable=True)

        def query(database: Database) -> dict[str, int]:
            found = sqlite_queries.revisions(database)
            self._file.keep(database, found)
            return found

        return await self._read(query)

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

    async def _get_many(self, collection: Collection, keys: Sequence[str]) -> list[Record]:
        def query(database: Database) -> list[Record]:
            now = self._clock.wall()
            found = (sqlite_queries.get(database, collection.name, key, now) for key in keys)
            return [record for record in found if record is not None]

        return await self._read(query)

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

    def _check_keys(self, database: Database) -> None:
        """Raise SealedRecords if records need a key that is not configured."""
        if self._encryption is not None:
            starts = "SELECT collection, substr(value, 1, ?) FROM record WHERE collection = ?"
            for collection in SEALED:
                self._encryption.check(database.execute(starts, (LONGEST_MARK, collection.name)))

    async def _read(self, query: Callable[[Database], ResultT]) -> ResultT:
        """Run a read-only query.

        Raises:
            StoreDown: the database failed.

        """
        try:
            try:
                return transaction(self._file.quick, query, "BEGIN")
            except sqlite3.OperationalError as error:
                if not is_busy(error):  # only while another process recovers or removes the journal
                    raise

            def read_in_thread() -> ResultT:
                with closing(self._file.connect(BUSY_SECONDS)) as database:
                    return transaction(database, query, "BEGIN")

            return await anyio.to_thread.run_sync(read_in_thread)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    async def _transact(self, query: Callable[[Database], ResultT], *, durable: bool = False) -> ResultT:
        """Run a query that writes; with `durable`, return once the change is on disk.

        Raises:
            StoreDown: the database failed; nothing was changed.

        """

        def adjusted(database: Database) -> ResultT:
            self._adjust_clock(database)
            return query(database)

        try:
            result = await self._writer.write(adjusted, durable=durable)
        except sqlite3.Error as error:
            self._adjusted_at = float("-inf")  # the transaction's clock adjustment was rolled back
            raise self._failed(error) from error
        self._file.note_success()
        return result

    def _adjust_clock(self, database: Database) -> None:
        """Adjust expiries if the wall clock was set; checked once a second while both clocks run alike."""
        wall, now = self._clock.wall(), self._clock.monotonic()
        if now - self._adjusted_at < _MAINTENANCE_SECONDS and abs(wall - now - self._offset) < _DRIFT_SECONDS:
            return
        sqlite_queries.adjust_expiries(database, sqlite_queries.ClockReading(wall, now, self._boot))
        self._adjusted_at, self._offset = now, wall - now

    def _failed(self, error: sqlite3.Error) -> StoreDown:
        """Note what the error of a call says about the file, and return the caller's error."""
        self._file.note_failure(error)
        down = self._down(error)
        self._file.report(str(down))
        return down

    def _down(self, error: sqlite3.Error) -> StoreDown:
        if is_busy(error):
            return StoreDown(f"the store {self._path} is locked by another process; try again")
        return StoreDown(f"the store {self._path} failed: {error}")
