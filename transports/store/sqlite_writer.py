"""The one writer of a process's SQLite file. Source: reliability 6.3.

SQLite lets one connection write at a time. A second connection that writes waits in SQLite's busy handler, which
sleeps and polls; several of them starve one another, even inside one process. So all writes of a process go through
one `Writer`, which never has two under way:

- While nothing is being written, a write that may be lost in a power failure is done at once on the event loop: it
  takes less time than a thread takes to start.
- A write that must reach the disk, or that finds the file locked by another process, is done in a thread. Writes that
  come meanwhile wait in `_waiting`, and the next transaction takes all of them: they share one commit, and one wait
  for the disk. Each runs in a savepoint, so one that fails undoes nothing but itself.

The caller whose write is first in line does the work for the batch, then passes the lead on. A caller that is
cancelled while its write waits takes it back; once the write is under way, it is finished.
"""

import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import anyio
import anyio.to_thread

_MOST_AT_ONCE = 256
"""Writes in one transaction."""
_CHECKPOINT_EVERY = 250
"""After so many writes on the event loop, one is done in the thread, whose connection moves the journal to the file."""
_PRIMARY = 0xFF
"""The bits of an SQLite error code that name the error; the others give details."""

ResultT = TypeVar("ResultT")
Query = Callable[[sqlite3.Connection], ResultT]


class _Write(Generic[ResultT]):
    """One write that waits for the writer or has been done."""

    __slots__ = ("durable", "error", "finished", "query", "result", "woken")

    def __init__(self, query: Query[ResultT], *, durable: bool) -> None:
        self.query, self.durable = query, durable
        self.finished = False
        self.result: ResultT | None = None
        self.error: sqlite3.Error | None = None
        self.woken = anyio.Event()
        """Set when the write is finished, or when its caller is to lead the next batch."""


class Writer:
    """Writes of one process, one transaction at a time."""

    def __init__(self, quick: sqlite3.Connection, connect: Callable[[], sqlite3.Connection]) -> None:
        """Write with `quick` on the event loop, which must not wait for locks; `connect` opens one that does."""
        self._quick, self._connect = quick, connect
        self._patient: sqlite3.Connection | None = None
        self._waiting: deque[_Write[Any]] = deque()
        self._leading = False
        self._quick_writes = 0
        self._synchronous = ""

    async def write(self, query: Query[ResultT], *, durable: bool) -> ResultT:
        """Run a query in a write transaction; with `durable`, return once the disk has it.

        Raises:
            sqlite3.Error: the query failed, and changed nothing.

        """
        if not (durable or self._leading or self._waiting) and not self._checkpoint_due():
            try:
                return transaction(self._quick, query, "BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
        write = _Write(query, durable=durable)
        self._waiting.append(write)
        try:
            while not write.finished:
                if self._leading:
                    await write.woken.wait()
                    continue
                await self._lead()
        finally:
            if not write.finished and write in self._waiting:
                self._waiting.remove(write)
            self._pass_lead()
        if write.error is not None:
            raise write.error
        return cast("ResultT", write.result)

    def close(self) -> None:
        """Close the connections."""
        self._quick.close()
        if self._patient is not None:
            self._patient.close()

    def _checkpoint_due(self) -> bool:
        self._quick_writes += 1
        return self._quick_writes % _CHECKPOINT_EVERY == 0

    async def _lead(self) -> None:
        """Do one batch in a thread; a caller that is cancelled meanwhile waits for the thread."""
        batch = [self._waiting.popleft() for _ in range(min(_MOST_AT_ONCE, len(self._waiting)))]
        self._leading = True
        try:
            await anyio.to_thread.run_sync(self._commit, batch)
        finally:
            self._leading = False
            for write in batch:
                write.finished = True
                write.woken.set()

    def _pass_lead(self) -> None:
        if self._waiting and not self._leading:
            self._waiting[0].woken.set()

    def _commit(self, batch: list[_Write[Any]]) -> None:
        """Do a batch in one transaction; note each write's result or error."""
        synchronous = "FULL" if any(write.durable for write in batch) else "NORMAL"
        try:
            if self._patient is None:
                self._patient = self._connect()
            if synchronous != self._synchronous:
                self._patient.execute(f"PRAGMA synchronous={synchronous}")
                self._synchronous = synchronous
            transaction(self._patient, lambda database: _run_all(database, batch), "BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            for write in batch:
                write.error = error


def _run_all(database: sqlite3.Connection, batch: list[_Write[Any]]) -> None:
    for write in batch:
        database.execute("SAVEPOINT one")
        try:
            write.result = write.query(database)
        except sqlite3.Error as error:
            if not database.in_transaction:
                raise  # such an error ends the transaction: the disk is full, or fails
            write.error = error
            database.execute("ROLLBACK TO one")
        database.execute("RELEASE one")


def is_busy(error: sqlite3.OperationalError) -> bool:
    """Return whether another connection holds a lock."""
    return error.sqlite_errorcode & _PRIMARY == sqlite3.SQLITE_BUSY


def transaction(database: sqlite3.Connection, query: Query[ResultT], begin: str) -> ResultT:
    """Run a query in a transaction of its own, which an error undoes."""
    with database:
        database.execute(begin)
        return query(database)
