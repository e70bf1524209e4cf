"""Keys that the gateway's processes share: from the operator's file, or kept in the store and made when missing."""

import secrets
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from service.settings import Media, Origin, SettingsError

KEY_BYTES = 32

_MEDIA_KEY = "media"
_BUSY_SECONDS = 5.0
_SCHEMA = "CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, value BLOB NOT NULL)"


def media_key(media: Media, origin: Origin, store: Path) -> bytes:
    """Return the key that seals links to media.

    Raises:
        SettingsError: its file cannot be read, or holds too little.
        OSError: the store is out of order.

    """
    if media.key_file is None:
        return stored_key(store, _MEDIA_KEY)
    try:
        secret = media.key_file.read_bytes().strip()
    except OSError as error:
        where = f"{origin.name}: media.key_file: {media.key_file}"
        raise SettingsError(f"{where} cannot be read: {error.strerror}") from None
    if len(secret) < KEY_BYTES:
        raise SettingsError(f"{origin.name}: media.key_file: expected {KEY_BYTES} bytes or more")
    return sha256(secret).digest()


def stored_key(store: Path, name: str) -> bytes:
    """Return the key of that name: random bytes that are the same for every process with this store.

    Raises:
        OSError: the store is out of order.

    """
    try:
        with closing(sqlite3.connect(store, timeout=_BUSY_SECONDS)) as database, database:
            database.execute(_SCHEMA)
            database.execute("INSERT OR IGNORE INTO secret VALUES (?, ?)", (name, secrets.token_bytes(KEY_BYTES)))
            return database.execute("SELECT value FROM secret WHERE name = ?", (name,)).fetchone()[0]
    except sqlite3.Error as error:
        raise OSError(f"the store is out of order: {error}") from error
