"""Uploaded files in the store: each as a record, an index entry and the pieces of its content; all expire.

A record is stored under the license and the id. The index entry adds the size, so that the keys of the index alone say
how many bytes are stored. The content is cut into pieces (`transports.store.pieces`).

The record is written first and removed first, the index entry removed last. So an index entry without a record belongs
to a file that was deleted, or expired, or whose upload was abandoned: `sweep` removes what is left of it. The entry's
value is the digest by which the upstream's copies of the file are found. It also removes the files of revoked licenses.

Example: `file-1` of the license `me` has 300,000 bytes. Its record has the key `me/file-1`, its index entry
`me/file-1/300000`, and its pieces have `me/file-1/000000` and `me/file-1/000001`.
"""

import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from hashlib import sha256

import anyio
import msgspec
import structlog

from protocol.http.errors import HttpError
from protocol.model import Content, UploadedFile, UploadTicket
from service.config.schema import FileSettings
from service.jobs.store import saturated_on_failure
from transports.clock import Clock
from transports.store import Records, Unreadable
from transports.store.pieces import PIECE_BYTES, PieceMissing, StoredPieces
from transports.store.port import FILE_INDEX, FILE_PIECES, FILES, UPLOAD_TICKETS
from transports.store.upstream_copies import UpstreamCopies
from transports.tasks import background_tasks, every

_ID = re.compile(r"[\w-]{1,128}", re.ASCII)
_UPLOAD_SECONDS = 3600.0
"""How long an upload may take."""
_CLEANUP_SECONDS = 5.0
_SWEEP_SECONDS = 600.0

_log = structlog.get_logger()

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(UploadedFile).decode


class StoredFiles:
    """Implements `protocol.model.FileStore` on the records of the store."""

    piece_bytes = PIECE_BYTES

    def __init__(self, records: Records, settings: FileSettings, has_ended: Callable[[str], Awaitable[bool]]) -> None:
        """Keep files within the limits of `settings`; `has_ended` says whether the license of an owner was revoked."""
        self._records, self._settings, self._has_ended = records, settings, has_ended
        self._pieces, self._copies = StoredPieces(records, FILE_PIECES), UpstreamCopies(records)

    @property
    def retention_seconds(self) -> float:
        """How long a file is kept."""
        return self._settings.retention_seconds

    async def begin(self, owner: str, file: UploadedFile) -> None:
        """Reserve space for a file, as `FileStore.begin`."""
        key = f"{owner}/{file.id}"
        with saturated_on_failure():
            put = await self._records.put(FILES, key, _encode(file), expected=0, seconds=_UPLOAD_SECONDS)
            if put is None:
                raise HttpError(409, "file_exists", f"A file '{file.id}' exists already: delete it, or choose another.")
            try:
                await self._records.put(FILE_INDEX, f"{key}/{file.size}", b"", seconds=_kept_seconds(file))
                await self._check_space(owner)
            except BaseException:
                with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
                    await self._remove(key)
                raise

    async def append(self, owner: str, file: UploadedFile, offset: int, content: Content) -> None:
        """Store a part of a content, as `FileStore.append`."""
        with saturated_on_failure():
            await self._pieces.put(f"{owner}/{file.id}", content, offset=offset, seconds=_kept_seconds(file))
            begun = msgspec.structs.replace(file, digest="", received=max(file.received, offset + len(content)))
            await self._records.put(FILES, f"{owner}/{file.id}", _encode(begun), seconds=_UPLOAD_SECONDS)

    async def finish(self, owner: str, file: UploadedFile) -> None:
        """Store a complete file, as `FileStore.finish`."""
        seconds = file.expires - file.created
        with saturated_on_failure():
            complete = msgspec.structs.replace(file, received=file.size)
            entry, sent_as = f"{owner}/{file.id}/{file.size}", file.sent_as.encode()
            await self._records.put(FILE_INDEX, entry, sent_as, seconds=_kept_seconds(file))
            await self._records.put(FILES, f"{owner}/{file.id}", _encode(complete), seconds=seconds)

    async def open_ticket(self, ticket: UploadTicket) -> str:
        """Return a new secret for a ticket, as `FileStore.open_ticket`."""
        secret = secrets.token_urlsafe(32)
        with saturated_on_failure():
            await self._records.put(UPLOAD_TICKETS, _digest(secret), _encode(ticket), seconds=_UPLOAD_SECONDS)
        return secret

    async def ticket(self, secret: str) -> UploadTicket | None:
        """Return the ticket of a secret, as `FileStore.ticket`."""
        with saturated_on_failure():
            try:
                record = await self._records.get(UPLOAD_TICKETS, _digest(secret))
            except Unreadable:
                return None
        return msgspec.json.decode(record.value, type=UploadTicket) if record is not None else None

    async def find(self, owner: str, file_id: str) -> UploadedFile | None:
        """Return a file, as `FileStore.find`."""
        if not _ID.fullmatch(file_id):
            return None
        with saturated_on_failure():
            try:
                record = await self._records.get(FILES, f"{owner}/{file_id}")
            except Unreadable as error:
                _log.error("file_unreadable", file=file_id, error=type(error).__name__)
                return None
        return _decode(record.value) if record is not None else None

    async def list(self, owner: str) -> Sequence[UploadedFile]:
        """Return the complete files of a license, as `FileStore.list`."""
        with saturated_on_failure():
            records = await self._records.scan(FILES, f"{owner}/")
        files = [file for file in (_decode(record.value) for record in records) if file.complete]
        return sorted(files, key=lambda file: (file.created, file.id))

    async def read(self, owner: str, file: UploadedFile) -> AsyncIterator[bytes]:
        """Yield the content of a file, as `FileStore.read`."""
        try:
            with saturated_on_failure():
                async for piece in self._pieces.read(f"{owner}/{file.id}", file.size):
                    yield piece
        except PieceMissing:
            raise HttpError(404, "file_not_found", f"The file '{file.id}' was deleted: upload it again.") from None

    async def remove(self, owner: str, file_id: str) -> bool:
        """Delete a file, as `FileStore.remove`."""
        if not _ID.fullmatch(file_id):
            return False
        with saturated_on_failure():
            return await self._remove(f"{owner}/{file_id}")

    async def sweep(self) -> None:
        """Remove the files of revoked licenses, and what is left of files without a record, such as expired ones.

        Raises:
            StoreDown: the store failed.

        """
        entries = await self._records.keys(FILE_INDEX)  # in the opposite order of an upload
        files = await self._records.keys(FILES)
        ended = {owner for owner in {key.partition("/")[0] for key in files} if await self._has_ended(owner)}
        kept = {key for key in files if key.partition("/")[0] not in ended}
        for key in files:
            if key not in kept:
                await self._records.remove(FILES, key)
        await self._remove_contents(entry for entry in entries if entry.rpartition("/")[0] not in kept)

    @asynccontextmanager
    async def sweeping(self, clock: Clock) -> AsyncGenerator[None]:
        """Sweep every ten minutes while the context lasts, because files expire."""

        async def sweep() -> None:
            try:
                await self.sweep()
            except OSError:
                _log.warning("files_not_swept")

        async with background_tasks() as tasks:
            tasks.start_soon(partial(every, _SWEEP_SECONDS, sweep, clock, wait=True))
            yield

    async def _remove(self, key: str) -> bool:
        """Remove the file with this key; return whether there was one."""
        found = await self._records.remove(FILES, key)
        await self._remove_contents(await self._records.keys(FILE_INDEX, f"{key}/"))
        return found

    async def _remove_contents(self, entries: Iterable[str]) -> None:
        """Remove the upstream's copies and the pieces of index entries, then the entries."""
        for entry in entries:
            with suppress(Unreadable):
                record = await self._records.get(FILE_INDEX, entry)
                if record is not None and record.value:
                    await self._copies.forget(record.value.decode())
            key, _, size = entry.rpartition("/")
            await self._pieces.remove(key, int(size))
            await self._records.remove(FILE_INDEX, entry)

    async def _check_space(self, owner: str) -> None:
        """Raise HttpError if more is stored than the limits allow, also after a sweep."""
        if self._refusal(owner, await self._records.keys(FILE_INDEX)) is None:
            return
        await self.sweep()
        refusal = self._refusal(owner, await self._records.keys(FILE_INDEX))
        if refusal is not None:
            raise refusal

    def _refusal(self, owner: str, entries: Iterable[str]) -> HttpError | None:
        limits, sizes = self._settings, [key.split("/") for key in entries]
        own = [int(size) for license_owner, _, size in sizes if license_owner == owner]
        exceeded = [
            (len(own), limits.files_per_license, "files per license", "files_per_license"),
            (sum(own), limits.bytes_per_license, "bytes per license", "bytes_per_license"),
            (sum(int(size) for *_, size in sizes), limits.total_bytes, "bytes of all licenses", "total_bytes"),
        ]
        for used, most, what, setting in exceeded:
            if used > most:
                text = (
                    f"There is no space for this file: the gateway stores at most {most} {what} (the setting "
                    f"'files.{setting}'). Delete files that are not needed, or send the file with its message."
                )
                return HttpError(429, "file_storage_full", text)
        return None


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _kept_seconds(file: UploadedFile) -> float:
    """Return how long the content is kept: longer than the record, which is written last."""
    return file.expires - file.created + _UPLOAD_SECONDS
