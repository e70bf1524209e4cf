"""Who is calling, and what they may use: licenses, stored as digests, checked on every matched route."""

import hmac
import re
import secrets
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from protocol.http.body import discard_body
from protocol.http.context import context_of
from protocol.model import Caller, Unauthorized
from service.admission import Guarded

KEY_PREFIX = "sk-gg-"
_KEY = re.compile(rb"[\x21-\x7e]{8,256}")
_ID = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_BUSY_SECONDS = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS license (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    models TEXT NOT NULL,
    created REAL NOT NULL,
    revoked REAL
)
"""


class LicenseError(ValueError):
    """A license that cannot be added or found; the message is fit for the operator."""


class License(msgspec.Struct, frozen=True, kw_only=True):
    """One license; its key is known to its holder alone."""

    id: str
    models: tuple[str, ...] = ("*",)
    created: float = 0.0
    """Epoch seconds."""
    revoked: float | None = None


def digest_of(key: bytes) -> bytes:
    """Return what is stored of a key."""
    return sha256(key).digest()


def new_key() -> str:
    """Return a fresh key."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


class LicenseBook:
    """The licenses of the command line, in SQLite; reads see at once what another process wrote."""

    def __init__(self, path: Path) -> None:
        """Use the database at `path`, made when missing.

        Raises:
            OSError: it cannot be opened or made.

        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        with self._transaction() as database:
            database.execute(_SCHEMA)
        self._reader = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    def close(self) -> None:
        """Let go of the database."""
        self._reader.close()

    def add(self, identity: str, key: str, models: Iterable[str], now: float) -> None:
        """Add a license.

        Raises:
            LicenseError: the id is in use or no id, or the key is not fit for a header.

        """
        check(identity, key)
        patterns = " ".join(models)
        try:
            with self._transaction() as database:
                row = (identity, digest_of(key.encode()), patterns, now)
                database.execute("INSERT INTO license (id, digest, models, created) VALUES (?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise LicenseError(f"the license {identity!r}, or one with this key, exists already") from None

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
        rows = self._reader.execute("SELECT id, models, created, revoked FROM license ORDER BY created, id")
        return [License(id=i, models=tuple(m.split()), created=c, revoked=r) for i, m, c, r in rows.fetchall()]

    def find(self, digest: bytes) -> License | None:
        """Return the valid license of a key's digest."""
        query = "SELECT id, models, created, digest FROM license WHERE digest = ? AND revoked IS NULL"
        row = self._reader.execute(query, (digest,)).fetchone()
        if row is None or not hmac.compare_digest(row[3], digest):
            return None
        return License(id=row[0], models=tuple(row[1].split()), created=row[2])

    def valid(self, identity: str) -> bool:
        """Say whether there is a license of this id that was not revoked."""
        query = "SELECT 1 FROM license WHERE id = ? AND revoked IS NULL"
        return self._reader.execute(query, (identity,)).fetchone() is not None

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS)) as database, database:
            yield database


def check(identity: str, key: str) -> None:
    """Raise LicenseError unless id and key are fit for logs and headers."""
    if not _ID.fullmatch(identity):
        raise LicenseError("a license's id is 1 to 64 letters, digits, '.', '_', '@' or '-'")
    if not _KEY.fullmatch(key.encode("utf-8", "surrogatepass")):
        raise LicenseError("a license key is 8 to 256 printable ASCII characters without spaces")


class Licenses:
    """All licenses: the settings', fixed for the process's life, and the book's."""

    def __init__(self, fixed: Iterable[tuple[str, License]], book: LicenseBook) -> None:
        """Take the settings' `(key, license)`, checked."""
        self._book = book
        self._fixed = [(digest_of(key.encode()), granted) for key, granted in fixed]

    def caller(self, authorization: bytes) -> Caller | None:
        """Return who an `Authorization` header's license belongs to."""
        scheme, _, key = authorization.strip().partition(b" ")
        key = key.strip()
        if scheme.lower() != b"bearer" or not _KEY.fullmatch(key):
            return None
        digest = digest_of(key)
        found = self._book.find(digest)
        for fixed, granted in self._fixed:
            if hmac.compare_digest(fixed, digest):
                found = granted
        return Caller(id=found.id, models=found.models) if found else None

    def valid(self, identity: str) -> bool:
        """Say whether there is a license of this id that was not revoked."""
        return any(granted.id == identity for _, granted in self._fixed) or self._book.valid(identity)


class Licensed:
    """Lets a matched route's request through if it carries a license; refuses it in the route's dialect if not."""

    def __init__(self, endpoint: Guarded, licenses: Licenses) -> None:
        """Guard `endpoint`."""
        self._endpoint, self._licenses = endpoint, licenses

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        context = context_of(scope)
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        context.caller = self._licenses.caller(sent[0]) if len(sent) == 1 else None
        if context.caller is not None:
            await self._endpoint(scope, receive, send)
            return
        error = Unauthorized(
            "Incorrect API key provided. Send a license key of this gateway as 'Authorization: Bearer <license key>'.",
        )
        context.record.error = error.code
        await discard_body(receive)
        await self._endpoint.refuse(error)(scope, receive, send)
