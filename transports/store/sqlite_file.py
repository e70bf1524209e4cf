"""The file of a SQLite store: its connections, and its restoration after it was deleted, replaced or damaged.

Theory of operation. A connection keeps the file that it has opened. If an operator deletes that file or puts another
one in its place, the connection keeps using the old one, which no other program sees any more, and which ends with the
process. So each write looks, once it holds the write lock, whether the path still leads to the open file (`check`); so
does a poll for changes, once a second. If not, `restore` opens what is there now:

- Nothing: the old file is copied there, with everything in it. The first of several processes does that; a lock on
  the folder keeps the others, and commands, waiting.
- A store of a gateway: the records that it lacks are added. Of two versions of a record, the later one wins if both
  files have the same history, that is the same id; otherwise the one that is there. A record of it that this process
  has seen and seen removed is removed again.
- The same file, but another journal (`-wal` or `-shm` was deleted): other programs see the file without the latest
  writes. A file that has both takes its place.
- Anything else (another program's database, a folder, garbage, records of another key): it is not touched. The old file
  serves until it is gone; the log, the metrics and `/readyz` say so.

A file that was damaged in place is set aside as `NAME.damaged-TIME`. Of its records, those that must not be lost are in
`_copy`, which the polls keep up to date.

Example: `gateway.sqlite3` is deleted, then `licenses add` makes a new one with one license. The next write, or the next
poll, finds another inode there, and adds all accounts, sessions, jobs and other licenses to it.
"""

import errno
import fcntl
import math
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from transports.clock import Clock
from transports.store.port import ACCOUNTS, ATTENTION, FILE_PIECES, KEYS, LICENSES, PAUSES, SESSIONS, StoreDown

BUSY_SECONDS = 5.0
_AGAIN_SECONDS = 2.0
_LOCK_SECONDS = 0.01
_LOCK_TRIES = 500
_KEPT = tuple(collection.name for collection in (ACCOUNTS, SESSIONS, PAUSES, ATTENTION, LICENSES, KEYS))
"""Collections that are kept in memory too."""
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
CREATE TABLE IF NOT EXISTS history (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL);
"""
_MAGIC = b"SQLite format 3\0"
_HEADER = 100
_PAGE = slice(16, 18)
_LARGEST_PAGE = 65536
"""Page size that the header stores as 1."""
FOREIGN = "is not a database of this gateway; choose another path"
_PRIMARY = 0xFF
"""The bits of an SQLite error code that name the error; the others give details."""
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_log = structlog.get_logger()

Row = tuple[str, str, bytes, int, float | None]
"""Collection, key, value, version and expiry of a record."""
Mark = tuple[int, int] | None
"""Device and inode; None: there is no such file."""


class FileReplaced(Exception):
    """The path leads to another file than the one that is open, or to none; nothing was written."""


class FileObserver(Protocol):
    """Is notified about the file."""

    def store_file(self, problem: str) -> None:
        """Handle that the file cannot be used (`problem` says why), or that it can again (empty)."""
        ...

    def store_restored(self) -> None:
        """Handle that records were written to another file."""
        ...


class _Contents(msgspec.Struct):
    """Contents of a store, as far as they are restored."""

    history: str = ""
    revisions: dict[str, int] = {}
    rows: dict[tuple[str, str], Row] = {}
    removed: dict[tuple[str, str], int] = {}
    """Last known versions of records that were removed."""


class SqliteFile:
    """The open file, with one connection for the event loop (`quick`) and one for threads (`patient`)."""

    def __init__(
        self, path: Path, clock: Clock, check: Callable[[sqlite3.Connection], None], observer: FileObserver | None
    ) -> None:
        """Open the file at `path`, and create it if missing. `check` raises StoreDown for records of another key.

        Raises:
            OSError: it cannot be opened or created.
            sqlite3.Error: it is not a database, or damaged.

        """
        self._path, self._clock, self._check, self._observer = path, clock, check, observer
        self.problem = ""
        """Why the file at the path cannot be used; empty: it is used."""
        self._refused_at = -math.inf
        """When the file at the path last could not be used; it is tried again after `_AGAIN_SECONDS`."""
        self._damaged = False
        self._copy = _Contents()
        with self._alone():
            self._opened = self._open()
        self._replacement: _Opened | None = None

    @property
    def quick(self) -> sqlite3.Connection:
        """The connection for the event loop, which does not wait for locks."""
        return self._opened.quick

    @property
    def patient(self) -> sqlite3.Connection:
        """The connection for threads."""
        return (self._replacement or self._opened).patient

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def check(self) -> None:
        """Check that the path still leads to the open file.

        Raises:
            FileReplaced: it leads to another one that may be usable.

        """
        opened = self._replacement or self._opened
        if not self._damaged and opened.is_in_place(self._path):
            self._refused_at = -math.inf
        elif self._clock.monotonic() - self._refused_at >= _AGAIN_SECONDS:
            raise FileReplaced

    def note_success(self) -> None:
        """Note that a write was done; a problem is over if the file at the path has it."""
        if self._refused_at == -math.inf:
            self.report("")

    def note_failure(self, error: sqlite3.Error) -> bool:
        """Note whether an error shows that the open file is damaged; return whether it does."""
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
        self._damaged = self._damaged or code in _DAMAGE or "no such table" in str(error)
        return self._damaged

    def restore(self) -> None:
        """Open what is at the path now, and add what it lacks; if it cannot be used, keep the old file.

        Call `settle` on the event loop afterwards.
        """
        old = self._replacement or self._opened
        try:
            with self._alone(), old.locked():
                contents = _read(old.patient, self._copy)
                if _mark(self._path) == old.mark:
                    if self._damaged or not old.is_database():
                        self._set_aside()
                    else:
                        self._replace_journal(contents)
                elif not self._path.exists():
                    self._copy_to_path(old.quick)  # not the one with the lock: SQLite refuses to copy that
                new = self._open(contents)
        except (OSError, sqlite3.Error) as error:
            self._refused_at = self._clock.monotonic()
            self.report(f"the store {self._path}: {getattr(error, 'strerror', None) or error}")
            return
        self._damaged, self._refused_at = False, -math.inf
        self.report("")
        _log.warning("store_file_restored", path=str(self._path), records=len(contents.rows))
        if self._observer is not None:
            self._observer.store_restored()
        self._replacement = new

    def settle(self) -> None:
        """Use the file that `restore` has opened."""
        if self._replacement is not None:
            old, self._opened, self._replacement = self._opened, self._replacement, None
            old.close()

    def keep(self, database: sqlite3.Connection, revisions: dict[str, int]) -> None:
        """Copy the records that must not be lost, as far as they have changed, to memory."""
        copy = self._copy
        for name in _KEPT:
            before, now = copy.revisions.get(name, 0), revisions.get(name, 0)
            if before == now:
                continue
            keys = set(database.execute("SELECT collection, key FROM record WHERE collection = ?", (name,)))
            for gone in [key for key in copy.rows if key[0] == name and key not in keys]:
                copy.removed[gone] = copy.rows.pop(gone)[3]
            changed = "SELECT collection, key, value, version, until FROM record WHERE collection = ? AND version > ?"
            copy.rows |= {row[:2]: row for row in database.execute(changed, (name, before))}
            copy.revisions[name] = now
        copy.history = copy.history or _history(database)

    def connect(self, timeout: float) -> sqlite3.Connection:
        """Return a new connection to what is at the path."""
        database = sqlite3.connect(self._path, timeout=timeout, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA synchronous=NORMAL")
        except sqlite3.Error:
            database.close()
            raise
        return database

    def report(self, problem: str) -> None:
        """Log a new problem, or its end (empty), and notify the observer."""
        if problem == self.problem:
            return
        self.problem = problem
        if problem:
            _log.error("store_file_unusable", path=str(self._path), error=problem)
        else:
            _log.info("store_file_usable", path=str(self._path))
        if self._observer is not None:
            self._observer.store_file(problem)

    def _open(self, contents: _Contents | None = None) -> "_Opened":
        """Open what is at the path, creating it if missing, and add `contents`.

        Raises:
            OSError: it is not a store of this gateway.

        """
        if self._path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder; remove it, or choose another path")
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        if not self._path.stat().st_size:  # a journal that is there belongs to a file that was deleted
            self._remove_journal(self._path)
        with ExitStack() as stack:
            descriptor = os.open(self._path, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            _check_whole(self._path, descriptor)
            patient = stack.enter_context(closing(self.connect(BUSY_SECONDS)))
            _check_tables(patient)
            _create_tables(patient, secrets.token_hex(16))
            self._check(patient)
            if contents is not None:
                _merge(patient, contents)
            quick = stack.enter_context(closing(self.connect(0.0)))
            quick.execute("PRAGMA wal_autocheckpoint=0")  # that waits for the disk: a thread does it
            return _Opened(self._path, descriptor, quick, patient, stack.pop_all())

    def _copy_to_path(self, old: sqlite3.Connection) -> None:
        """Copy the old file to the path, unless the old file is damaged."""
        with self._draft() as draft, suppress(sqlite3.DatabaseError):
            with closing(sqlite3.connect(draft, isolation_level=None)) as database:
                old.backup(database)
            self._remove_journal(self._path)
            draft.rename(self._path)

    def _replace_journal(self, contents: _Contents) -> None:
        """Put a file that has both the contents and what other programs have written since in the file's place."""
        with self._draft() as draft:
            for suffix in ("", "-wal"):
                with suppress(FileNotFoundError):
                    shutil.copyfile(_beside(self._path, suffix), _beside(draft, suffix))
            with closing(sqlite3.connect(draft, isolation_level=None)) as database:
                _create_tables(database, contents.history)
                _merge(database, contents)
            self._remove_journal(self._path)
            draft.rename(self._path)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Keep other processes from opening or restoring the file: a new one has its journal only a moment later."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            for _ in range(_LOCK_TRIES):
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_LOCK_SECONDS)
                except OSError:  # folders cannot be locked here
                    break
            yield
        finally:
            os.close(folder)

    @contextmanager
    def _draft(self) -> Generator[Path]:
        """Create an empty file in the same folder, and remove what is left of it."""
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)
            self._remove_journal(draft)

    @staticmethod
    def _remove_journal(path: Path) -> None:
        for suffix in ("-wal", "-shm"):
            _beside(path, suffix).unlink(missing_ok=True)

    def _set_aside(self) -> None:
        """Rename the damaged file."""
        aside = self._path.with_name(f"{self._path.name}.damaged-{self._clock.wall():.0f}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                _beside(self._path, suffix).rename(_beside(aside, suffix))
        _log.error("store_file_damaged", path=str(self._path), kept_as=aside.name)


class _Opened:
    """The connections to one file, and a descriptor of it.

    The descriptor stays open as long as the connections: closing it would end their locks (POSIX, `fcntl`).
    """

    def __init__(
        self,
        path: Path,
        descriptor: int,
        quick: sqlite3.Connection,
        patient: sqlite3.Connection,
        stack: ExitStack,
    ) -> None:
        self.quick, self.patient, self._stack, self._descriptor = quick, patient, stack, descriptor
        self.mark = _mark(path)
        self._journal = [_mark(_beside(path, suffix)) for suffix in ("-wal", "-shm")]

    def is_in_place(self, path: Path) -> bool:
        """Return whether the path leads to this file and its journal, and the file is still a database."""
        journal = [_mark(_beside(path, suffix)) for suffix in ("-wal", "-shm")]
        return _mark(path) == self.mark and journal == self._journal and self.is_database()

    def is_database(self) -> bool:
        """Return whether the file begins as a database does."""
        return os.pread(self._descriptor, len(_MAGIC), 0) == _MAGIC

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the file's write lock, if it is not damaged, so that only one process restores it at a time."""
        try:
            self.patient.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & _PRIMARY == sqlite3.SQLITE_BUSY:
                raise
        try:
            yield
        finally:
            with suppress(sqlite3.Error):
                self.patient.execute("ROLLBACK")

    def close(self) -> None:
        self._stack.close()


def _mark(path: Path) -> Mark:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def _beside(path: Path, suffix: str) -> Path:
    """Return the path of a file's journal; with an empty suffix, its own."""
    return path.with_name(path.name + suffix)


def _check_whole(path: Path, descriptor: int) -> None:
    """Raise StoreDown if the file was truncated: SQLite would notice late, or start with an empty database."""
    journal = _beside(path, "-wal")
    if journal.exists() and journal.stat().st_size:
        return  # the write-ahead log completes the file
    header, size = os.pread(descriptor, _HEADER, 0), os.fstat(descriptor).st_size
    page = int.from_bytes(header[_PAGE])
    short = size < _HEADER or size % (page if page > 1 else _LARGEST_PAGE)
    if size and not header.startswith(_MAGIC[:size]):
        raise OSError(errno.EINVAL, FOREIGN)
    if size and short:
        raise StoreDown(f"the store {path} is truncated; restore it from a backup")


def _check_tables(database: sqlite3.Connection) -> None:
    """Raise OSError if the file belongs to another program: SQLite would add the tables of a store to it."""
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and not {"record", "revision"} <= tables:
        raise OSError(errno.EINVAL, FOREIGN)


def _create_tables(database: sqlite3.Connection, history: str) -> None:
    """Create what is missing of the tables of a store; a new one has this history."""
    database.executescript(_SCHEMA)
    database.execute("INSERT OR IGNORE INTO history VALUES (1, ?)", (history,))


def _history(database: sqlite3.Connection) -> str:
    return database.execute("SELECT id FROM history").fetchone()[0]


def _read(database: sqlite3.Connection, copy: _Contents) -> _Contents:
    """Return the contents of a file; `copy` if it is damaged."""
    try:
        query = "SELECT collection, key, value, version, until FROM record WHERE collection <> ?"
        found = database.execute(query, (FILE_PIECES.name,)).fetchall()  # these are too long for memory
        revisions = dict(database.execute("SELECT collection, number FROM revision"))
        rows: dict[tuple[str, str], Row] = {row[:2]: row for row in found}
        removed = copy.removed | {key: row[3] for key, row in copy.rows.items() if key not in rows}
        return _Contents(_history(database), revisions, rows, removed)
    except sqlite3.Error:
        return copy


def _merge(database: sqlite3.Connection, contents: _Contents) -> None:
    """Add records to a file; see the theory of operation above."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        there = _read(database, _Contents())
        same = there.history == contents.history
        for key, row in contents.rows.items():
            found = there.rows.get(key)
            if found is None or (same and row[3] > found[3]):
                database.execute("REPLACE INTO record VALUES (?, ?, ?, ?, ?)", row)
        for key, version in contents.removed.items() if same else ():
            if key in there.rows and there.rows[key][3] <= version:
                database.execute("DELETE FROM record WHERE collection = ? AND key = ?", key)
        for collection, number in contents.revisions.items():
            highest = max(number, there.revisions.get(collection, 0)) + 1
            database.execute("REPLACE INTO revision VALUES (?, ?)", (collection, highest))
