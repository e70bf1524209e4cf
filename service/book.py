"""The book of licenses: in SQLite, by the digests of their keys; reads see at once what another process wrote."""

import errno
import hmac
import re
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from protocol.model import Feature

KEY = re.compile(rb"[\x21-\x7e]{8,256}")
_ID = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_BUSY_SECONDS = 5.0
_LOOKUP_SECONDS = 0.05
"""A request waits so long for the database, on the event loop, before it is told to come again."""
_ALL = "*"
"""In the database: all features, those to come included."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS license (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    models TEXT NOT NULL,
    created REAL NOT NULL,
    revoked REAL,
    features TEXT NOT NULL DEFAULT '*'
)
"""
_FEATURES_CAME_LATER = "ALTER TABLE license ADD COLUMN features TEXT NOT NULL DEFAULT '*'"
_ADD = """
INSERT INTO license (id, digest, models, features, created) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, models = excluded.models, features = excluded.features,
created = excluded.created, revoked = NULL WHERE license.revoked IS NOT NULL
"""
_ROWS = "SELECT id, models, features, created, revoked, digest FROM license"


class LicenseError(ValueError):
    """A license that cannot be added or found; the message is fit for the operator."""


class License(msgspec.Struct, frozen=True, kw_only=True):
    """One license; its key is known to its holder alone."""

    id: str
    models: tuple[str, ...] = ("*",)
    features: tuple[Feature, ...] = tuple(Feature)
    created: float = 0.0
    """Epoch seconds."""
    revoked: float | None = None


def digest_of(key: bytes) -> bytes:
    """Return what is stored of a key."""
    return sha256(key).digest()


class LicenseBook:
    """The licenses of the command line, in SQLite; reads see at once what another process wrote."""

    def __init__(self, path: Path) -> None:
        """Use the database at `path`, made when missing.

        Every method may raise OSError: the database cannot be opened, is locked or broken.
        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        with self._transaction() as database:
            database.execute(_SCHEMA)
            columns = {row[1] for row in database.execute("PRAGMA table_info(license)").fetchall()}
            if "features" not in columns:
                database.execute(_FEATURES_CAME_LATER)
        self._reader = sqlite3.connect(path, timeout=_LOOKUP_SECONDS, isolation_level=None, check_same_thread=False)
        with suppress(sqlite3.OperationalError):  # then it stays as it is, and readers wait for writers
            self._reader.execute("PRAGMA journal_mode=WAL").fetchall()

    def close(self) -> None:
        """Let go of the database."""
        self._reader.close()

    def add(self, granted: License, key: str) -> None:
        """Add a license; one that was revoked may be added anew, with another key.

        Raises:
            LicenseError: the id is in use or no id, or the key is in use or not fit for a header.

        """
        check(granted.id, key)
        features = _ALL if set(granted.features) == set(Feature) else " ".join(granted.features)
        row = (granted.id, digest_of(key.encode()), " ".join(granted.models), features, granted.created)
        with self._transaction() as database:
            try:
                added = database.execute(_ADD, row).rowcount
            except sqlite3.IntegrityError:
                added = 0
            if not added:
                raise LicenseError(f"the license {granted.id!r}, or one with this key, exists already")

    def revoke(self, identity: str, now: float) -> None:
        """Make a license worthless from now on.

        Raises:
            LicenseError: there is none of this id.

        """
        with self._transaction() as database:
            done = database.execute("UPDATE license SET revoked = ? WHERE id = ? AND revoked IS NULL", (now, identity))
            if done.rowcount == 0:
                raise LicenseError(f"there is no license {identity!r} that is not revoked already")

    def all(self) -> list[License]:
        """Return all licenses, oldest first."""
        with self._transaction() as database:
            return [_license(row) for row in database.execute(f"{_ROWS} ORDER BY created, id").fetchall()]

    def find(self, digest: bytes) -> License | None:
        """Return the valid license of a key's digest."""
        row = self._look("digest = ? AND revoked IS NULL", digest)
        return _license(row) if row is not None and hmac.compare_digest(row[-1], digest) else None

    def valid(self, identity: str) -> bool:
        """Say whether there is a license of this id that was not revoked."""
        return self._look("id = ? AND revoked IS NULL", identity) is not None

    def _look(self, condition: str, value: bytes | str) -> Any:
        with self._translated():
            return self._reader.execute(f"{_ROWS} WHERE {condition}", (value,)).fetchone()

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        """Yield a connection inside one write transaction."""
        with (
            self._translated(),
            closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)) as database,
        ):
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Generator[None]:
        """Make the database's errors OSErrors."""
        try:
            yield
        except sqlite3.Error as error:
            raise OSError(errno.EIO, str(error), str(self._path)) from error


def _license(row: Sequence[Any]) -> License:
    identity, models, features, created, revoked, _ = row
    known = tuple(feature for feature in Feature if features == _ALL or feature in features.split())
    return License(id=identity, models=tuple(models.split()), features=known, created=created, revoked=revoked)


def check(identity: str, key: str) -> None:
    """Raise LicenseError unless id and key are fit for logs and headers."""
    if not _ID.fullmatch(identity):
        raise LicenseError("a license's id is 1 to 64 letters, digits, '.', '_', '@' or '-'")
    if not KEY.fullmatch(key.encode("utf-8", "surrogatepass")):
        raise LicenseError("a license key is 8 to 256 printable ASCII characters without spaces")
