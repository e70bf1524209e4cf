"""Keys that the gateway's processes share: from the operator's file, or kept in the store and made when missing."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import structlog

from service.config.schema import Media, Origin, SettingsError
from service.media.signed_urls import UrlSigner
from transports.clock import Clock
from transports.store import Store, StoreDown
from transports.store.port import KEYS
from transports.tasks import background_tasks

KEY_BYTES = 32

_MEDIA_KEY = "media"
_RETRY_SECONDS = 2.0

_log = structlog.get_logger()


async def media_key(media: Media, origin: Origin, store: Store) -> bytes:
    """Return the key that seals links to media.

    Raises:
        SettingsError: its file cannot be read, or holds too little.
        OSError: the store is out of order.

    """
    if media.key_file is None:
        return await stored_key(store, _MEDIA_KEY)
    return file_key(media.key_file, f"{origin.name}: media.key_file")


@asynccontextmanager
async def open_url_signer(
    media: Media, origin: Origin, store: Store, clock: Clock, *, patient: bool
) -> AsyncGenerator[UrlSigner]:
    """Open the seal of links; `patient`: where the store is away, begin with a key that this process alone has.

    Raises:
        SettingsError: the key's file cannot be read, or holds too little.
        OSError: the store is out of order.

    """

    async def read() -> bytes:
        return await media_key(media, origin, store)

    async with background_tasks() as tasks:
        try:
            seal = UrlSigner(await read(), clock, media.link_seconds)
        except StoreDown:
            if not patient:
                raise
            _log.warning("media_key_not_known", hint="until the store is back, links open in this process alone")
            seal = UrlSigner(secrets.token_bytes(KEY_BYTES), clock, media.link_seconds)
            tasks.start_soon(_learn, read, seal, clock)
        yield seal


async def _learn(read: Callable[[], Awaitable[bytes]], seal: UrlSigner, clock: Clock) -> None:
    """Have the key that processes share adopted as soon as the store that keeps it is back."""
    while True:
        await clock.sleep(_RETRY_SECONDS)
        try:
            seal.adopt(await read())
        except OSError:
            continue
        return


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
