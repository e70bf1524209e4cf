"""Which conversations upstreams keep for whom: what may be lost, and so is kept apart from what must not.

A conversation is found by a key that its next turn's history gives, and gone on with by one request only. When its
time is over, or too many are kept, it is overdue: whoever asks for it tells the upstream to forget it too.
"""

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from transports.base import Kept
from transports.clock import Clock

MOST_KEPT = 10_000
_ABANDONED_SECONDS = 7 * 86400.0
"""What nobody has asked for so long after its time is forgotten: its account is gone."""
_BUSY_SECONDS = 5.0
_PRIMARY = 0xFF
"""The bits of an error's code that say what it is; the others say more."""
_COUNTED_PER_MOST = 100
"""It is seen to so often, while as many come as may be kept, that there are not more."""
_SCHEMA = (
    "PRAGMA journal_mode=WAL;"
    "CREATE TABLE IF NOT EXISTS conversation"
    " (key BLOB PRIMARY KEY, account TEXT NOT NULL, value BLOB NOT NULL, until REAL NOT NULL);"
    "CREATE INDEX IF NOT EXISTS conversation_until ON conversation (until);"
)

ResultT = TypeVar("ResultT")


class MemoryConversations:
    """Conversations in memory: for tests, and for upstreams that forget when the process ends."""

    def __init__(self, clock: Clock, most: int = MOST_KEPT) -> None:
        """Keep at most so many."""
        self._clock, self._most = clock, most
        self._kept: dict[bytes, tuple[Kept, float]] = {}

    async def keep(self, key: bytes, kept: Kept, *, seconds: float) -> None:
        """Remember a conversation for so long."""
        other = self._kept.get(key, (kept, 0.0))[0]
        if other != kept:
            self._kept[secrets.token_bytes(32)] = (other, 0.0)
        self._kept[key] = (kept, self._clock.monotonic() + seconds)
        ready = sorted((until, known) for known, (_, until) in self._kept.items())
        for _, known in ready[: len(ready) - self._most]:
            self._kept[known] = (self._kept[known][0], 0.0)

    async def whose(self, key: bytes) -> str | None:
        """Return the account of the conversation of this key, if there is one to be gone on with."""
        found = self._kept.get(key)
        return found[0].account if found and self._clock.monotonic() < found[1] else None

    async def take(self, key: bytes, account: str) -> Kept | None:
        """Return the account's conversation of this key and forget it."""
        return self._kept.pop(key)[0] if await self.whose(key) == account else None

    async def overdue(self, account: str, *, most: int) -> list[Kept]:
        """Return conversations of an account whose time is over, and forget them."""
        now = self._clock.monotonic()
        over = [key for key, (kept, until) in self._kept.items() if kept.account == account and until <= now]
        return [self._kept.pop(key)[0] for key in over[:most]]


class SqliteConversations:
    """Conversations in a file that the processes of one gateway share; written without waiting for the disk."""

    def __init__(self, path: Path, clock: Clock, most: int = MOST_KEPT) -> None:
        """Use the file at `path`, made anew where it is missing or broken.

        Raises:
            OSError: it cannot be made.

        """
        self._path, self._clock, self._most = path, clock, most
        self._uncounted = 0
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._database = self._open()
        except sqlite3.DatabaseError:
            path.unlink(missing_ok=True)
            self._database = self._open()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    async def keep(self, key: bytes, kept: Kept, *, seconds: float) -> None:
        """Remember a conversation for so long."""

        def query(database: sqlite3.Connection) -> None:
            now = self._clock.wall()
            row = (key, kept.account, kept.conversation, now + seconds)
            another = "UPDATE conversation SET key = randomblob(32), until = ? WHERE key = ? AND value <> ?"
            database.execute(another, (now, key, kept.conversation))
            database.execute("REPLACE INTO conversation VALUES (?, ?, ?, ?)", row)
            self._uncounted += 1
            if self._uncounted * _COUNTED_PER_MOST >= self._most:
                self._uncounted = 0
                self._prune(database)

        await self._run(query)

    async def whose(self, key: bytes) -> str | None:
        """Return the account of the conversation of this key, if there is one to be gone on with."""

        def query(database: sqlite3.Connection) -> str | None:
            asked = "SELECT account FROM conversation WHERE key = ? AND until > ?"
            row = database.execute(asked, (key, self._clock.wall())).fetchone()
            return row[0] if row else None

        return await self._run(query, begin="BEGIN")

    async def take(self, key: bytes, account: str) -> Kept | None:
        """Return the account's conversation of this key and forget it."""

        def query(database: sqlite3.Connection) -> Kept | None:
            taken = "DELETE FROM conversation WHERE key = ? AND account = ? AND until > ? RETURNING value"
            row = database.execute(taken, (key, account, self._clock.wall())).fetchone()
            return Kept(account=account, conversation=row[0]) if row else None

        return await self._run(query)

    async def overdue(self, account: str, *, most: int) -> list[Kept]:
        """Return conversations of an account whose time is over, and forget them."""

        def query(database: sqlite3.Connection) -> list[Kept]:
            over = "SELECT key FROM conversation WHERE account = ? AND until <= ? LIMIT ?"
            taken = f"DELETE FROM conversation WHERE key IN ({over}) RETURNING value"  # noqa: S608 -- constants
            rows = database.execute(taken, (account, self._clock.wall(), most)).fetchall()
            return [Kept(account=account, conversation=row[0]) for row in rows]

        return await self._run(query)

    def _prune(self, database: sqlite3.Connection) -> None:
        """Let what is too much be overdue, and forget what nobody asks for any more."""
        now = self._clock.wall()
        database.execute("DELETE FROM conversation WHERE until < ?", (now - _ABANDONED_SECONDS,))
        (count,) = database.execute("SELECT COUNT(*) FROM conversation WHERE until > ?", (now,)).fetchone()
        if count > self._most:
            first = "SELECT key FROM conversation WHERE until > ? ORDER BY until LIMIT ?"
            over = f"UPDATE conversation SET until = ? WHERE key IN ({first})"  # noqa: S608 -- constants
            database.execute(over, (now, now, count - self._most))

    def _open(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            with closing(self._connect(_BUSY_SECONDS)) as database:
                database.executescript(_SCHEMA)
            return self._connect(0.0)
        except sqlite3.OperationalError as error:
            raise OSError(f"the conversations {self._path} cannot be kept: {error}") from error

    def _connect(self, patience: float) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=patience, isolation_level=None)
        try:
            database.execute("PRAGMA synchronous=OFF")
        except sqlite3.Error:
            database.close()
            raise
        return database

    async def _run(
        self,
        query: Callable[[sqlite3.Connection], ResultT],
        begin: str = "BEGIN IMMEDIATE",
    ) -> ResultT:
        """Do it at once: it takes less time than a thread takes to begin. A thread waits where another process writes.

        What only reads begins with `BEGIN` alone and waits for nobody.

        Raises:
            OSError: the database is out of order.

        """
        try:
            try:
                return _done(self._database, query, begin)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY:
                    raise
            return await anyio.to_thread.run_sync(self._patiently, query, begin)
        except sqlite3.Error as error:
            raise OSError(f"the conversations {self._path} are out of order: {error}") from error

    def _patiently(self, query: Callable[[sqlite3.Connection], ResultT], begin: str) -> ResultT:
        with closing(self._connect(_BUSY_SECONDS)) as database:
            return _done(database, query, begin)


def _done(database: sqlite3.Connection, query: Callable[[sqlite3.Connection], ResultT], begin: str) -> ResultT:
    """Return what came of a query, in a transaction of its own."""
    with database:
        database.execute(begin)
        return query(database)
