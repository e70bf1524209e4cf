"""Uploads files with one key by the Files API, and uses them again while they live.

A file belongs to the project of its key. The store knows which files a key has, by their digest, so that all processes
use them. Before a file is used again, the API is asked whether it is still there.

Source: "Files, caching, embeddings, speech".
"""

import secrets
from contextlib import suppress
from io import BytesIO

import anyio
import msgspec
from yarl import URL

from protocol.model import BadRequest, FilePart, GatewayError, UpstreamFailed
from transports.api.config import ApiConfig
from transports.clock import Clock
from transports.generate_content.api_client import ApiClient
from transports.generate_content.wire import FileData
from transports.store.port import Store
from transports.store.upstream_copies import UpstreamCopies, UpstreamCopy

_REUSE_SECONDS = 47 * 3600.0
"""The API keeps a file for 48 hours."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_TURN_PAUSE = 0.3
"""Seconds between two looks whether another request has uploaded the file."""
_RELEASE_SECONDS = 5.0
_FILES_PATH = "/upload/v1beta/files"


class _UploadEnd(msgspec.Struct, frozen=True):
    file: UpstreamCopy


class KeyUploads:
    """The files of one key; implements `transports.generate_content.request_files.Uploader`."""

    def __init__(self, config: ApiConfig, api: ApiClient, project: str, store: Store, clock: Clock) -> None:
        """Upload by `api`; `project` names the key in the store, and is not secret."""
        self.inline_bytes = config.inline_bytes
        self._origin, self._seconds = config.base_url, config.upload_seconds
        self._api, self._project, self._clock = api, project, clock
        self._copies, self._locks = UpstreamCopies(store.records), store.locks

    async def bring(self, file: FilePart) -> FileData:
        """Upload a file, unless the key has it; as `Uploader.bring`. Of requests at once, only one uploads it."""
        digest = file.digest.hex()
        name, owner = f"upload/{self._project}/{digest}", secrets.token_hex(8)
        until, mine = self._clock.monotonic() + self._seconds, False
        found = await self._known(digest)
        try:
            while found is None and not mine:
                try:
                    mine = await self._locks.acquire(name, owner, self._seconds) is not None
                except OSError:  # without the store, it is uploaded by each request
                    mine = True
                found = await self._known(digest)
                if found is None and not mine and self._clock.monotonic() < until:
                    await self._clock.sleep(_TURN_PAUSE)
                elif not mine:
                    break
            if found is None:
                found = await self._upload(file)
                with suppress(OSError):  # the file is uploaded again next time
                    await self._copies.note(self._project, digest, found, _REUSE_SECONDS)
        finally:
            if mine:
                with anyio.move_on_after(_RELEASE_SECONDS, shield=True), suppress(OSError):
                    await self._locks.release(name, owner)
        return FileData(found.uri, file.mime)

    async def _known(self, digest: str) -> UpstreamCopy | None:
        """Return a file that was uploaded before, if the API still has it."""
        try:
            noted = await self._copies.find(self._project, digest)
            known = await self._described(noted) if noted is not None else None
        except (OSError, GatewayError, msgspec.MsgspecError):
            return None
        return known if known is not None and known.state == "ACTIVE" else None

    async def _upload(self, file: FilePart) -> UpstreamCopy:
        start = {
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(file.size),
            "X-Goog-Upload-Header-Content-Type": file.mime,
            "Content-Type": "application/json",
        }
        headers, _ = await self._api.send("POST", f"{self._origin}{_FILES_PATH}", headers=start, data=b'{"file":{}}')
        query = URL(headers.get("x-goog-upload-url", "")).query_string
        if not query:
            raise UpstreamFailed("The upstream did not accept the upload of a file.")
        send = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
        _, body = await self._api.send(
            "POST",
            f"{self._origin}{_FILES_PATH}?{query}",  # never another host: the answer names one
            headers=send,
            data=BytesIO(file.data) if file.stored is None else file.stored,
            seconds=self._seconds,
        )
        try:
            return await self._processed(msgspec.json.decode(body, type=_UploadEnd).file)
        except msgspec.MsgspecError:
            raise UpstreamFailed("The upstream's answer to an upload has an unknown form.") from None

    async def _processed(self, file: UpstreamCopy) -> UpstreamCopy:
        """Wait until the API has processed a file.

        Raises:
            BadRequest: the API cannot process it.

        """
        pause, until = _FIRST_PAUSE, self._clock.monotonic() + self._seconds
        while file.state == "PROCESSING":
            if self._clock.monotonic() >= until:
                raise UpstreamFailed("The upstream processes a file of this request for too long. Try again later.")
            await self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            file = await self._described(file)
        if file.state == "FAILED":
            message = "The upstream cannot process a file of this request: send it in another format."
            raise BadRequest(message, param="messages", code="unsupported_file")
        return file

    async def _described(self, file: UpstreamCopy) -> UpstreamCopy:
        return msgspec.json.decode(await self._api.get(file.name), type=UpstreamCopy)
