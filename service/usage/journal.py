"""Keeps usage records in files until the ledger has them, so that a killed process loses none.

Theory of operation. A finished request is one line, written by one `os.write` to a file of this process, before the
client gets the last byte of its answer. Once a second the file is closed, and the next line begins another one. A file
that its process holds open is locked (`flock`); the lock ends with the process, however that ends. `take` passes every
file without a lock to the ledger, then deletes it: files of this process that it has closed, and those of processes
that have died. If a process dies between both steps, the next one passes the same lines on again; the ledger knows
their ids, and adds nothing.

Example: a process writes three lines and is killed. The next one that starts finds its file without a lock, appends the
three records, and deletes the file.
"""

import fcntl
import os
import secrets
from collections import deque
from pathlib import Path

import structlog

_SUFFIX = ".usage"
_TRIES = 5
_IN_MEMORY = 100_000
"""The number of lines that are kept in memory, where no file can be written; older ones are dropped."""

_log = structlog.get_logger()


class TakenFile:
    """A journal file that this process has locked, with its lines."""

    def __init__(self, path: Path, file: int, lines: bytes) -> None:
        """Hold `file`, the open descriptor of `path`."""
        self._path, self._file, self.lines = path, file, lines

    def delete(self) -> None:
        """Delete the file: the ledger has its records."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)

    def leave(self) -> None:
        """Leave the file for later: the ledger does not take its records now."""
        os.close(self._file)

    def sync(self) -> None:
        """Write the file to the disk. It blocks: call it in a thread."""
        os.fsync(self._file)


class Journal:
    """The journal of this process, and those that dead processes left in its folder."""

    def __init__(self, folder: Path | None) -> None:
        """Keep files in `folder`; None, or a folder that is not writable: keep the lines in memory."""
        self._folder = folder
        self._file: int | None = None
        self._memory: deque[bytes] = deque(maxlen=_IN_MEMORY)
        if folder is not None:
            try:
                self._file = self._create(folder)
            except OSError as error:
                _log.warning("usage_journal_in_memory", folder=str(folder), error=error.strerror)
                self._folder = None

    @property
    def in_memory(self) -> bool:
        """Whether lines are kept in memory, where a kill loses them."""
        return self._folder is None

    def write(self, line: bytes) -> None:
        """Keep one line. It survives the process if the file can be written."""
        data = line + b"\n"
        if self._folder is not None:
            try:
                if self._file is None:
                    self._file = self._create(self._folder)
                if os.write(self._file, data) == len(data):
                    return
                os.write(self._file, b"\n")  # so that the next line is whole
            except OSError as error:
                _log.error("usage_journal_failed", folder=str(self._folder), error=error.strerror)
        self._memory.append(data)

    def close_file(self) -> None:
        """Close the current file, so that it can be taken; the next line begins another one."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def take_memory(self) -> bytes:
        """Remove the lines in memory, and return them."""
        lines = b"".join(self._memory)
        self._memory.clear()
        return lines

    def put_back(self, lines: bytes) -> None:
        """Keep lines in memory again: the ledger did not take them."""
        self._memory.extendleft(reversed(lines.splitlines(keepends=True)))

    def files(self) -> list[Path]:
        """Return the files of the folder; some may be in use. It blocks: call it in a thread."""
        try:
            return sorted(self._folder.glob(f"*{_SUFFIX}")) if self._folder is not None else []
        except OSError:
            return []

    def take(self, path: Path) -> "TakenFile | None":
        """Take a file that no process uses; None: one uses it, or has taken it. It blocks: call it in a thread."""
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        if not _locked(file, path):
            os.close(file)
            return None
        with os.fdopen(os.dup(file), "rb") as reading:
            return TakenFile(path, file, reading.read())

    @staticmethod
    def _create(folder: Path) -> int:
        """Create a file, and lock it before another process takes it for one of a dead process."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for _ in range(_TRIES):
            path = folder / f"{os.getpid()}-{secrets.token_hex(6)}{_SUFFIX}"
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
            if _locked(file, path):
                return file
            os.close(file)
        raise BlockingIOError(None, "files cannot be locked")


def _locked(file: int, path: Path) -> bool:
    """Lock an open file, unless another process holds it or it is no longer at `path`; return whether it was locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.stat().st_ino == os.fstat(file).st_ino
    except OSError:
        return False
