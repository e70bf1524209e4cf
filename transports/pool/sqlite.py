"""The store of one machine: SQLite, written through to the disk, shared by the processes of one gateway."""

import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from transports.clock import Clock

_BUSY_SECONDS = 5.0
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS session (account TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS writer (account TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL)",
)

ResultT = TypeVar("ResultT")


class SqliteStore:
    """Sessions in a file that only its owner may read; every call is one transaction, durable when it returns."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Use the file at `path`, made when missing.

        Raises:
            OSError: it cannot be opened or made.

        """
        self._path, self._clock = path, clock
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        with self._database() as database:
            for statement in _SCHEMA:
                database.execute(statement)

    async def load(self, account: str) -> tuple[bytes, int] | None:
        """Return an account's saved session and its version."""

        def query(database: sqlite3.Connection) -> tuple[bytes, int] | None:
            rows = database.execute("SELECT value, version FROM session WHERE account = ?", (account,))
            return rows.fetchone()

        return await self._run(query)

    async def save(self, account: str, value: bytes, *, expected: int) -> int | None:
        """Save durably when the stored version is `expected`; return the new version, or None."""

        def query(database: sqlite3.Connection) -> int | None:
            row = database.execute("SELECT version FROM session WHERE account = ?", (account,)).fetchone()
            if (row[0] if row else 0) != expected:
                return None
            database.execute("REPLACE INTO session VALUES (?, ?, ?)", (account, value, expected + 1))
            return expected + 1

        return await self._run(query)

    async def acquire(self, account: str, owner: str, ttl: float) -> bool:
        """Become the account's only writer for `ttl` seconds, unless another owner is."""

        def query(database: sqlite3.Connection) -> bool:
            now = self._clock.wall()
            row = database.execute("SELECT owner, until FROM writer WHERE account = ?", (account,)).fetchone()
            if row and row[0] != owner and now < row[1] <= now + ttl:
                return False
            database.execute("REPLACE INTO writer VALUES (?, ?, ?)", (account, owner, now + ttl))
            return True

        return await self._run(query)

    async def release(self, account: str, owner: str) -> None:
        """Stop being the account's only writer, if `owner` is."""

        def query(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM writer WHERE account = ? AND owner = ?", (account, owner))

        await self._run(query)

    async def _run(self, query: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        def work() -> ResultT:
            with self._database() as database:
                return query(database)

        return await anyio.to_thread.run_sync(work)

    @contextmanager
    def _database(self) -> Generator[sqlite3.Connection]:
        """Yield a connection inside one write transaction; the database's errors are OSErrors to callers."""
        try:
            with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous=FULL")
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
        except sqlite3.Error as error:
            raise OSError(f"the session store {self._path} is out of order: {error}") from error
