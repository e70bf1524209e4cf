"""The Files API: uploads in several requests, and the files of each key's project.

Source: "Files, caching, embeddings, speech".
"""

import base64
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from transports.clock import Clock
from transports.simulator.api import request_schema as schema
from transports.simulator.api.api_keys import SimulatedKey
from transports.simulator.api.pages import page_of
from transports.simulator.api.request_reader import decode
from transports.simulator.api.rpc_errors import ApiRefusal, invalid

API_VERSIONS = ("v1beta", "v1", "v1alpha")
GRANULARITY = 256 * 1024
_MOST_BYTES = 2 * 1024**3
_LIFETIME = 48 * 3600.0
_FAILS = b"<file-fails/>"
"""The beginning of a file that cannot be processed."""
_NAME = re.compile(r"files/[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
UPLOADED = re.compile(r"/v1(?:beta|alpha)?/files/([^/:?]+)")
"""The name of a file in its address."""
FindKey = Callable[[Request], SimulatedKey]
SentT = TypeVar("SentT", schema.Request, schema.CachedRequest)


class StartedFile(schema.Strict, frozen=True):
    """What a client says of a file before it uploads it."""

    name: str = ""
    display_name: str = ""
    mime_type: str = ""
    size_bytes: int | None = None


class UploadStart(schema.Strict, frozen=True):
    """The body of the first request of an upload."""

    file: StartedFile = StartedFile()


class KeptFile(msgspec.Struct, kw_only=True):
    """A file, or an upload that has begun."""

    name: str
    project: str
    mime: str
    title: str
    size: int
    base: str
    created: float
    content: bytearray = msgspec.field(default_factory=bytearray)
    ready: float | None = None
    """When it has been processed; None: the upload has not ended."""

    def state(self, now: float) -> str:
        """Return the state at a time."""
        if self.ready is None or now < self.ready:
            return "PROCESSING"
        return "FAILED" if self.content.startswith(_FAILS) else "ACTIVE"

    def shown(self, now: float) -> dict[str, Any]:
        """Return the file as the API shows it."""
        failed = {"error": {"code": 3, "message": "The file cannot be processed."}}
        state = self.state(now)
        digest = base64.b64encode(sha256(self.content).digest()).decode()
        return {
            "name": self.name,
            "displayName": self.title,
            "mimeType": self.mime,
            "sizeBytes": str(self.size),
            "createTime": shown_time(self.created),
            "updateTime": shown_time(self.created),
            "expirationTime": shown_time(self.created + _LIFETIME),
            "sha256Hash": digest,
            "uri": f"{self.base}/v1beta/{self.name}",
            "state": state,
            "source": "UPLOADED",
        } | (failed if state == "FAILED" else {})


class ApiFiles:
    """The files of all keys; each key is a project of its own."""

    def __init__(self, clock: Clock, find_key: FindKey, processing_seconds: float) -> None:
        """Process each file for `processing_seconds`."""
        self._clock, self._find_key, self._processing = clock, find_key, processing_seconds
        self._uploads: dict[str, KeptFile] = {}
        self._files: dict[str, KeptFile] = {}

    async def upload(self, request: Request) -> Response:
        """Answer `POST /upload/v1beta/files`: the start of an upload, or a part of its content."""
        if "upload_id" in request.query_params:
            return await self.receive(request)
        key = self._find_key(request)
        headers = request.headers
        if headers.get("x-goog-upload-protocol") != "resumable" or headers.get("x-goog-upload-command") != "start":
            raise invalid("Start a resumable upload: X-Goog-Upload-Protocol: resumable, X-Goog-Upload-Command: start.")
        length, mime = headers.get("x-goog-upload-header-content-length", ""), ""
        told = decode(await request.body() or b"{}", UploadStart).file
        mime = headers.get("x-goog-upload-header-content-type") or told.mime_type
        if not length.isdecimal() or not 0 < int(length) <= _MOST_BYTES or not mime:
            raise invalid("The length and type of the file are missing, or it is longer than 2 GB.")
        name = told.name or f"files/{secrets.token_hex(6)}"
        if not _NAME.fullmatch(name):
            raise invalid(f"File name {name} is not valid.")
        if name in self._files:
            raise ApiRefusal(409, f"File {name} already exists.", status="ALREADY_EXISTS")
        token = secrets.token_urlsafe(24)
        base = str(request.base_url).rstrip("/")
        self._uploads[token] = KeptFile(
            name=name,
            project=key.key,
            mime=mime,
            title=told.display_name,
            size=int(length),
            base=base,
            created=self._clock.wall(),
        )
        url = f"{base}{request.url.path}?upload_id={token}&upload_protocol=resumable"
        return Response(headers={"X-Goog-Upload-URL": url, "X-Goog-Upload-Status": "active"})

    async def receive(self, request: Request) -> Response:
        """Take a part of a content; the URL of the upload stands for the key."""
        file = self._uploads.get(request.query_params["upload_id"])
        if file is None:
            raise ApiRefusal(404, "The upload does not exist.")
        command = {one.strip() for one in request.headers.get("x-goog-upload-command", "").split(",")}
        if not command or not command <= {"upload", "finalize"}:
            raise invalid(f"Unknown upload command: {', '.join(sorted(command))}.")
        if request.headers.get("x-goog-upload-offset") != str(len(file.content)):
            raise invalid(f"The offset is wrong: {len(file.content)} bytes have arrived.")
        part = await request.body()
        if "finalize" not in command and len(part) % GRANULARITY:
            raise invalid(f"The length of a part must be a multiple of {GRANULARITY} bytes.")
        if len(file.content) + len(part) > file.size:
            raise invalid("The content is longer than its declared length.")
        file.content += part
        if "finalize" not in command:
            return Response(headers={"X-Goog-Upload-Status": "active"})
        if len(file.content) != file.size:
            raise invalid("The content is shorter than its declared length.")
        del self._uploads[request.query_params["upload_id"]]
        file.ready = self._clock.wall() + self._processing
        self._files[file.name] = file
        return JSONResponse({"file": file.shown(self._clock.wall())}, headers={"X-Goog-Upload-Status": "final"})

    async def list_files(self, request: Request) -> Response:
        """Answer `GET files`: the newest first."""
        key, now = self._find_key(request), self._clock.wall()
        self.drop_expired()
        own = [file.shown(now) for file in reversed(self._files.values()) if file.project == key.key]
        return JSONResponse(page_of(request, "files", own, 10))

    async def get_file(self, request: Request) -> Response:
        """Answer `GET files/{name}`."""
        return JSONResponse(self.find(request).shown(self._clock.wall()))

    async def delete_file(self, request: Request) -> Response:
        """Answer `DELETE files/{name}`."""
        del self._files[self.find(request).name]
        return JSONResponse({})

    def find(self, request: Request) -> KeptFile:
        """Return the file that a request names, if it belongs to its key."""
        key = self._find_key(request)
        return self.owned(f"files/{request.path_params['name']}", key)

    def owned(self, name: str, key: SimulatedKey) -> KeptFile:
        """Return the file of a key.

        Raises:
            ApiRefusal: it does not exist, or belongs to another project.

        """
        self.drop_expired()
        file = self._files.get(name)
        if file is None or file.project != key.key:
            short = name.removeprefix("files/")
            message = f"You do not have permission to access the File {short} or it may not exist."
            raise ApiRefusal(403, message)
        return file

    def usable(self, name: str, key: SimulatedKey) -> KeptFile:
        """Return the file of a key that a request may use.

        Raises:
            ApiRefusal: as `owned`, or it has not been processed.

        """
        file = self.owned(name, key)
        if file.state(self._clock.wall()) != "ACTIVE":
            message = f"The File {name.removeprefix('files/')} is not in an ACTIVE state and usage is not allowed."
            raise ApiRefusal(400, message, status="FAILED_PRECONDITION")
        return file

    def drop_expired(self) -> None:
        """Forget the files whose time is over."""
        now = self._clock.wall()
        for name in [name for name, file in self._files.items() if now >= file.created + _LIFETIME]:
            del self._files[name]

    def resolved(self, sent: SentT, key: SimulatedKey) -> SentT:
        """Return a request with its uploaded files in place of their addresses.

        Raises:
            ApiRefusal: a file cannot be used, or not yet.

        """
        contents = [
            msgspec.structs.replace(message, parts=[self.resolved_part(part, key) for part in message.parts])
            for message in sent.contents
        ]
        return msgspec.structs.replace(sent, contents=contents)

    def resolved_part(self, part: schema.SentPart, key: SimulatedKey) -> schema.SentPart:
        """Return a part with its uploaded file."""
        reference = part.file_data
        name = UPLOADED.search(reference.file_uri) if reference is not None else None
        if reference is None or name is None:
            return part
        file = self.usable(f"files/{name[1]}", key)
        inline = schema.SentFile(mime_type=reference.mime_type or file.mime, data=bytes(file.content))
        return msgspec.structs.replace(part, file_data=None, inline_data=inline)


def shown_time(seconds: float) -> str:
    """Return a time as the API writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
