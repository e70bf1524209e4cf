"""The endpoints below `/files` and `/upload`, as Google's SDKs use them.

An upload takes several requests. The first one says the size, and gets a URL in a header. The content goes to that URL,
in one part or in parts of 8 MiB; the last one has the command `finalize`. These requests have no license key: the URL
contains a ticket, which is good for this one file.

Example:
    POST /upload/v1beta/files                x-goog-upload-command: start             -> x-goog-upload-url: U
    POST U   x-goog-upload-offset: 0         x-goog-upload-command: upload            -> x-goog-upload-status: active
    POST U   x-goog-upload-offset: 8388608   x-goog-upload-command: upload, finalize  -> x-goog-upload-status: final

The SDKs repeat a part whose answer has no `x-goog-upload-status`, so errors have it, too.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.gemini import file_wire
from protocol.gemini.errors import rpc_error_response
from protocol.http.body import encode_json, read_json
from protocol.http.context import RequestContext, caller_of, context_of
from protocol.http.errors import ASGIResponse, HttpError, status_of
from protocol.http.spool import collect
from protocol.http.uploads import (
    UploadNote,
    checked_file,
    download_of,
    find_upload,
    new_file,
    page_of,
    read_content,
    remove_upload,
)
from protocol.model import BadRequest, Content, UploadedFile, UploadTicket

_PATH = "/upload/"
_TICKET = "upload_id"
_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_USUAL, _MOST = 10, 100
_LONGEST_NAME = 512
_COMMAND, _OFFSET, _STATUS = "x-goog-upload-command", "x-goog-upload-offset", "x-goog-upload-status"
_FAILED = {_STATUS: "final"}
_SIZE, _FILE_NAME = "x-goog-upload-header-content-length", "x-goog-upload-file-name"


def ticket_of(scope: Any) -> str:
    """Return the ticket in the URL of an upload (`Dialect.ticket`)."""
    if _PATH not in scope["path"]:
        return ""
    return parse_qs(scope["query_string"].decode("latin-1")).get(_TICKET, [""])[0]


async def upload(request: Request) -> ASGIResponse:
    """Begin an upload, or take its next part."""
    context, secret = context_of(request.scope), ticket_of(request.scope)
    if not secret:
        return await _begin(request, context)
    owner, ticket = caller_of(context).owner, await context.files.ticket(secret)
    file = await context.files.find(owner, ticket.file_id) if ticket is not None and ticket.owner == owner else None
    if file is None:
        text = "The upload has expired or was cancelled: begin it again."
        raise HttpError(404, "upload_not_found", text, _FAILED)
    if file.complete:  # the answer to the last part was lost
        return _final(file, context)
    try:
        return await _Upload(file, context).run(request)
    except BadRequest as error:
        raise HttpError(status_of(error), error.code, error.message, _FAILED) from None


async def _begin(request: Request, context: RequestContext) -> ASGIResponse:
    """Reserve space for a file, and return the URL of its content."""
    headers, owner = request.headers, caller_of(context).owner
    if _commands(request) != {"start"}:
        text = "Begin an upload with 'X-Goog-Upload-Protocol: resumable' and 'X-Goog-Upload-Command: start'."
        raise BadRequest(text)
    asked = (await read_json(request, file_wire.decode_start)).file
    declared = headers.get(_SIZE, "")
    size = int(declared) if declared.isdecimal() and len(declared) < 16 else asked.size_bytes or 0
    if size <= 0:
        raise BadRequest("The size of the file is missing: send 'X-Goog-Upload-Header-Content-Length'.")
    if size > context.limits.file_bytes:
        text = f"The file is too large: send at most {context.limits.file_bytes} bytes."
        raise HttpError(413, "request_too_large", text)
    identity = asked.name.removeprefix("files/")
    if identity and not _ID.fullmatch(identity):
        text = "A file's name has up to 40 lower-case letters, digits and dashes, and no dash at either end."
        raise BadRequest(text, param="file.name")
    name = (asked.display_name or headers.get(_FILE_NAME, ""))[:_LONGEST_NAME]
    file = new_file(UploadNote(name=name, id=identity or secrets.token_hex(16)), size, context)
    await context.files.begin(owner, file)
    secret = await context.files.open_ticket(UploadTicket(owner=owner, file_id=file.id))
    url = context.links.absolute(f"{request.scope['path']}?{_TICKET}={secret}")
    granularity = str(context.files.piece_bytes)
    return _active({"x-goog-upload-url": url, "x-goog-upload-chunk-granularity": granularity})


class _Upload:
    """The upload of one file."""

    def __init__(self, file: UploadedFile, context: RequestContext) -> None:
        self._file, self._context, self._owner = file, context, caller_of(context).owner
        self._received = file.received

    async def run(self, request: Request) -> ASGIResponse:
        """Take the next part of the content."""
        commands, files = _commands(request), self._context.files
        if "cancel" in commands:
            await files.remove(self._owner, self._file.id)
            return Response("{}", headers={_STATUS: "cancelled"}, media_type="application/json")
        part: Content = b""
        if "upload" in commands:
            part = await self._append(request)
        elif not commands & {"query", "finalize"}:
            raise BadRequest("'X-Goog-Upload-Command' must be 'upload', 'upload, finalize', 'query' or 'cancel'.")
        if "finalize" not in commands:
            return _active({"x-goog-upload-size-received": str(self._received)})
        return await self._finish(part)

    async def _append(self, request: Request) -> Content:
        """Store a part, and return it."""
        files, size = self._context.files, self._file.size
        part, sent = await read_content(request), request.headers.get(_OFFSET, "0")
        offset = int(sent) if sent.isdecimal() and len(sent) < 16 else -1
        end, step = offset + len(part), files.piece_bytes
        if not 0 <= offset <= self._received or offset % step:
            raise BadRequest(f"'X-Goog-Upload-Offset' must be {self._received}: that many bytes have arrived.")
        if end > size or (end < size and end % step):
            text = f"Parts but the last one must have a multiple of {step} bytes, and all together {size} bytes."
            raise BadRequest(text)
        await files.append(self._owner, self._file, offset, part)
        self._received = max(self._received, end)
        return part

    async def _finish(self, part: Content) -> ASGIResponse:
        """Check the content, of which `part` is the last part, and store the file."""
        file, files, context = self._file, self._context.files, self._context
        if self._received < file.size:
            raise BadRequest(f"The file is not complete: {self._received} of {file.size} bytes have arrived.")
        if len(part) < file.size:
            pieces = files.read(self._owner, file)
            part = await collect(pieces, context.reserved(), context.spool, context.limits.file_bytes)
        try:
            complete = await checked_file(part, file, "file", context)
        except BadRequest:
            with anyio.CancelScope(shield=True):
                await files.remove(self._owner, file.id)
            raise
        await files.finish(self._owner, complete)
        return _final(complete, context)


async def list_files(request: Request) -> ASGIResponse:
    """Return a page of the caller's files, newest first.

    Raises:
        BadRequest: `pageSize` or `pageToken` is invalid.

    """
    context = context_of(request.scope)
    query = {name: values[0] for name, values in parse_qs(context.query.decode("latin-1")).items()}
    sent = query.get("pageSize", "0")
    if not sent.isdecimal() or len(sent) > 9:
        raise BadRequest("'pageSize' must be a number, or be left out.", param="pageSize")
    size = min(int(sent) or _USUAL, _MOST)
    files = await context.files.list(caller_of(context).owner)
    found, cursor = page_of(files, size, query.get("pageToken", ""), "pageToken")
    return _json(file_wire.GeminiFilePage(files=[_shown(file, context) for file in found], next_page_token=cursor))


async def retrieve(request: Request) -> ASGIResponse:
    """Return a file of the caller, without its content."""
    context = context_of(request.scope)
    return _json(_shown(await find_upload(request.path_params["file"], context), context))


async def delete(request: Request) -> ASGIResponse:
    """Delete a file of the caller."""
    await remove_upload(request.path_params["file"], context_of(request.scope))
    return Response("{}", media_type="application/json")


async def download(request: Request) -> ASGIResponse:
    """Send the content of a file, as it was uploaded."""
    context = context_of(request.scope)
    return download_of(await find_upload(request.path_params["file"], context), context, rpc_error_response)


def _commands(request: Request) -> set[str]:
    """Return the commands of a request for an upload."""
    return {word.strip() for word in request.headers.get(_COMMAND, "").lower().split(",")}


def _active(headers: Mapping[str, str]) -> Response:
    return Response("{}", headers={_STATUS: "active", **headers}, media_type="application/json")


def _final(file: UploadedFile, context: RequestContext) -> Response:
    body = encode_json(file_wire.FileUploaded(file=_shown(file, context)))
    return Response(body, headers={_STATUS: "final"}, media_type="application/json")


def _shown(file: UploadedFile, context: RequestContext) -> file_wire.GeminiFile:
    return file_wire.shown_file(file, context.links.absolute(f"/v1beta/files/{file.id}"))


def _json(value: msgspec.Struct) -> Response:
    return Response(encode_json(value), media_type="application/json")
