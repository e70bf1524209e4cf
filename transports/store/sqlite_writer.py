"""The one writer of a process's SQLite file. Source: reliability 2.3.

SQLite lets one connection write at a time. A second connection that writes waits in SQLite's busy handler, which
sleeps and polls; several such connections starve one another, even inside one process. So all writes of a process go
through one `Writer`, which runs one transaction at a time:

- A write that need not survive a power failure runs on the event loop: it takes less time than starting a thread. A
  transaction costs more than the writes in it, so one begins every `_GATHER_SECONDS` at most: writes that arrive sooner
  wait in `_waiting`, and share the next one.
- A write that must reach the disk runs in a thread, as does one that still finds the file locked by another process
  after `_TRIES` tries, `_GATHER_SECONDS` apart: a thread costs more than a few tries. Writes that arrive meanwhile wait
  too: they share one commit, and one wait for the disk. Each runs in a savepoint, so a failed one undoes only itself.

The caller whose write is first in the queue leads: it writes the batch for all, then passes the lead on. A caller that
is cancelled while its write waits withdraws it; a write that has begun is always finished.

Example: a durable write A starts a thread. B and C arrive and wait. When A is on disk, B's caller leads: it writes B
and C in one transaction, and both callers return.
"""

import math
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar, cast

import anyio
import anyio.to_thread

from transports.store.sqlite_file import FileReplaced, SqliteFile

_MOST_AT_ONCE = 256
"""Writes in one transaction."""
_GATHER_SECONDS = 0.002
_TRIES = 5
_TRIES_IN_PLACE = 3
"""Tries of a batch whose file is replaced or damaged."""
_CHECKPOINT_EVERY = 250
"""Transactions on the event loop before one is run in a thread, whose connection checkpoints the journal."""
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

    def __init__(self, file: SqliteFile) -> None:
        """Write with `file.quick` on the event loop, and with `file.patient` in threads."""
        self._file = file
        self._replaced = False
        """Whether a write has found that the file was replaced; a thread restores it."""
        self._waiting: deque[_Write[Any]] = deque()
        self._leading = False
        self._quick_writes = 0
        self._wrote_at = -math.inf
        """When the last transaction on the event loop ended, by the loop's clock."""

    async def write(self, query: Query[ResultT], *, durable: bool) -> ResultT:
        """Run a query in a write transaction; with `durable`, return once the disk has it.

        Raises:
            sqlite3.Error: the query failed, and changed nothing.

        """
        write = _Write(query, durable=durable)
        alone = not (durable or self._leading or self._waiting)
        if alone and anyio.current_time() - self._wrote_at >= _GATHER_SECONDS and self._commit_at_once([write]):
            return _outcome(write)
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
            if self._waiting and not self._leading:
                self._waiting[0].woken.set()
        return _outcome(write)

    async def _lead(self) -> None:
        """Do one batch; a caller that is cancelled while a thread does it waits for the thread."""
        self._leading = True
        batch: list[_Write[Any]] = []
        try:
            for _ in range(_TRIES):
                if self._needs_thread(self._waiting):
                    break
                await anyio.sleep(_GATHER_SECONDS)
                first = list(islice(self._waiting, _MOST_AT_ONCE))
                if self._commit_at_once(first):
                    batch = self._popped(len(first))
                    return
            batch = self._popped(min(_MOST_AT_ONCE, len(self._waiting)))
            await anyio.to_thread.run_sync(self._commit, batch)
        finally:
            self._leading = self._replaced = False
            self._file.settle()
            for write in batch:
                write.finished = True
                write.woken.set()

    def _popped(self, count: int) -> list[_Write[Any]]:
        return [self._waiting.popleft() for _ in range(count)]

    def _needs_thread(self, writes: Iterable[_Write[Any]]) -> bool:
        """Return whether the writes must wait for the disk, which only a thread may do."""
        return self._replaced or self._quick_writes >= _CHECKPOINT_EVERY or any(write.durable for write in writes)

    def _commit_at_once(self, batch: list[_Write[Any]]) -> bool:
        """Do a batch on the event loop; return False where it must wait for the disk, or for another process's lock."""
        if self._needs_thread(batch):
            return False
        try:
            transaction(self._file.quick, partial(self._run_all, batch), "BEGIN IMMEDIATE")
        except FileReplaced:
            self._replaced = True
            return False
        except sqlite3.Error as error:
            self._replaced = self._file.note_failure(error)
            if self._replaced or is_busy(error):
                return False
            _fail_all(batch, error)
        self._quick_writes += 1
        self._wrote_at = anyio.current_time()
        return True

    def _commit(self, batch: list[_Write[Any]]) -> None:
        """Do a batch in one transaction, in the file that is there now; note each write's result or error."""
        self._quick_writes = 0
        synchronous = "FULL" if any(write.durable for write in batch) else "NORMAL"
        failure = sqlite3.OperationalError("the file keeps being replaced")
        for _ in range(_TRIES_IN_PLACE):
            try:
                self._file.patient.execute(f"PRAGMA synchronous={synchronous}")
                transaction(self._file.patient, partial(self._run_all, batch), "BEGIN IMMEDIATE")
                break
            except FileReplaced:
                self._file.restore()
            except sqlite3.Error as error:
                failure = error
                if not self._file.note_failure(error):
                    _fail_all(batch, error)
                    return
                self._file.restore()
        else:
            _fail_all(batch, failure)
            return
        try:
            self._file.check()
        except FileReplaced:  # by another process, just before the commit
            self._file.restore()

    def _run_all(self, batch: list[_Write[Any]], database: sqlite3.Connection) -> None:
        """Run the queries of a batch in a transaction.

        Raises:
            FileReplaced: nothing was written, because the path leads to another file.

        """
        self._file.check()
        if len(batch) == 1:
            batch[0].result = batch[0].query(database)
            return
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


def _fail_all(batch: list[_Write[Any]], error: sqlite3.Error) -> None:
    for write in batch:
        write.error = error


def _outcome(write: _Write[ResultT]) -> ResultT:
    if write.error is not None:
        raise write.error
    return cast("ResultT", write.result)


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another connection holds a lock."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY == sqlite3.SQLITE_BUSY


def transaction(database: sqlite3.Connection, query: Query[ResultT], begin: str) -> ResultT:
    """Run a query in a transaction of its own, which an error undoes."""
    with database:
        database.execute(begin)
        return query(database)
