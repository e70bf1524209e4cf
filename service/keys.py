"""Keys that the gateway's processes share: from the operator's file, or kept in the store and made when missing."""

import secrets
from hashlib import sha256
from pathlib import Path

from service.settings import Media, Origin, SettingsError
from transports.store import Store
from transports.store.port import KEYS

KEY_BYTES = 32

_MEDIA_KEY = "media"


async def media_key(media: Media, origin: Origin, store: Store) -> bytes:
    """Return the key that seals links to media.

    Raises:
        SettingsError: its file cannot be read, or holds too little.
        OSError: the store is out of order.

    """
    if media.key_file is None:
        return await stored_key(store, _MEDIA_KEY)
    return file_key(media.key_file, f"{origin.name}: media.key_file")


def file_key(path: Path, where: str) -> bytes:
    """Return the key of a secret in a file.

    Raises:
        SettingsError: it cannot be read, or holds too little.

    """
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"{where}: {path} cannot be read: {error.strerror}") from None
    if len(secret) < KEY_BYTES:
        raise SettingsError(f"{where}: expected {KEY_BYTES} bytes or more")
    return sha256(secret).digest()


async def stored_key(store: Store, name: str) -> bytes:
    """Return the key of that name: random bytes that are the same for every process with this store.

    Raises:
        OSError: the store is out of order.

    """
    record = await store.get(KEYS, name)
    while record is None:
        await store.put(KEYS, name, secrets.token_bytes(KEY_BYTES), expected=0)
        record = await store.get(KEYS, name)
    return record.value
