"""Secret keys that the gateway's processes share: from the operator's file, or generated and kept in the store."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256

import structlog

from service.config.schema import MediaSettings, Origin
from service.config.secrets import KEY_BYTES, read_key
from service.media.signed_urls import UrlSigner
from transports.clock import Clock
from transports.store import Records, StoreDown
from transports.store.port import KEYS
from transports.tasks import background_tasks

_MEDIA_KEY = "media"
_RETRY_SECONDS = 2.0

_log = structlog.get_logger()


async def media_key(media: MediaSettings, origin: Origin, records: Records) -> bytes:
    """Return the key that encrypts media links.

    Raises:
        SettingsError: its file cannot be read, or is too short.
        OSError: the store failed.

    """
    if media.key_file is None:
        return await stored_key(records, _MEDIA_KEY)
    return sha256(read_key(media.key_file, f"{origin.of('media.key_file')}: media.key_file")).digest()


@asynccontextmanager
async def open_url_signer(
    media: MediaSettings, origin: Origin, records: Records, clock: Clock, *, patient: bool
) -> AsyncGenerator[UrlSigner]:
    """Yield the signer of media links; `patient`: if the store is unavailable, start with a temporary key.

    Raises:
        SettingsError: the key's file cannot be read, or is too short.
        StoreDown: the store is unavailable, unless `patient`.
        Unreadable: the key's record is damaged, or is encrypted with another key.

    """

    async def adopt_shared_key(signer: UrlSigner) -> None:
        while True:
            await clock.sleep(_RETRY_SECONDS)
            with suppress(OSError):
                signer.adopt(await media_key(media, origin, records))
                return

    async with background_tasks() as tasks:
        try:
            signer = UrlSigner(await media_key(media, origin, records), clock, media.link_ttl_seconds)
        except StoreDown:
            if not patient:
                raise
            _log.warning(
                "media_key_unavailable", advice="media links work in this process only until the store is back"
            )
            signer = UrlSigner(secrets.token_bytes(KEY_BYTES), clock, media.link_ttl_seconds)
            tasks.start_soon(adopt_shared_key, signer)
        yield signer


async def stored_key(records: Records, name: str) -> bytes:
    """Return a named key from the store, generating it if missing; all processes of the store get the same key.

    Raises:
        OSError: the store failed.

    """
    record = await records.get(KEYS, name)
    while record is None:
        await records.put(KEYS, name, secrets.token_bytes(KEY_BYTES), expected=0)
        record = await records.get(KEYS, name)
    return record.value
