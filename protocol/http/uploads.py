"""Takes files that clients upload for later requests, in every dialect: checks, stores and pages them."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from hashlib import sha256
from urllib.parse import quote

import anyio
import msgspec
from starlette.requests import Request

from protocol.http.body import receive_body, settle
from protocol.http.context import RequestContext, caller_of, context_of
from protocol.http.download import Content as DownloadHead
from protocol.http.download import Download
from protocol.http.errors import Refuse
from protocol.http.files import FileField, file_name, no_file, take
from protocol.http.parallel import in_thread, run_in_worker
from protocol.http.spool import ContentSink
from protocol.model import BadRequest, Content, Saturated, UploadedFile, viewed

_CLEANUP_SECONDS = 5.0
_CURSOR_DIGITS = 20
_HEADERS = {"cache-control": "private, no-store", "x-content-type-options": "nosniff"}
"""A browser must not show the file as a page of the gateway."""


class UploadNote(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of a file that it uploads."""

    name: str = ""
    purpose: str = ""
    seconds: float | None = None
    """How long it is to be kept; None: as long as the gateway keeps files."""
    param: str = "file"
    """The path of the file in the request."""
    id: str = ""
    """The id that the client has chosen; empty: it gets a new one."""


def new_file(note: UploadNote, size: int, context: RequestContext) -> UploadedFile:
    """Return a file that has no content yet."""
    longest = context.files.retention_seconds
    return UploadedFile(
        id=note.id or f"file-{secrets.token_hex(16)}",
        name=note.name,
        mime="application/octet-stream",
        size=size,
        created=context.created,
        expires=context.created + min(longest, longest if note.seconds is None else note.seconds),
        purpose=note.purpose,
    )


async def store_upload(data: Content, note: UploadNote, context: RequestContext) -> UploadedFile:
    """Check a file as one that is sent with a message, and store it.

    Raises:
        BadRequest: as `protocol.http.files.take`.
        HttpError: the file is too large (413), or there is no space for it (429).
        Saturated: the store failed.

    """
    owner = caller_of(context).owner
    file = await checked_file(data, new_file(note, len(data), context), note.param, context)
    await context.files.begin(owner, file)
    try:
        await context.files.append(owner, file, 0, data)
        await context.files.finish(owner, file)
    except BaseException:
        with anyio.move_on_after(_CLEANUP_SECONDS, shield=True), suppress(Saturated):
            await context.files.remove(owner, file.id)
        raise
    return file


async def checked_file(data: Content, file: UploadedFile, param: str, context: RequestContext) -> UploadedFile:
    """Check the content of a file, and return it as a complete file with its type and digest.

    Raises:
        BadRequest: as `protocol.http.files.take`.

    """
    part = await take(data, FileField(param=param, name=file.name), context)
    digest = await run_in_worker(partial(_digest, data), context.reserved().owner)
    name, sent_as = file_name(file.name, part.mime), part.digest.hex()
    return msgspec.structs.replace(file, name=name, mime=part.mime, digest=digest, sent_as=sent_as)


def _digest(data: Content) -> str:
    with viewed(data) as view:
        return sha256(view).hexdigest()


async def read_content(request: Request) -> Content:
    """Read a body that is a file, or a part of one.

    Raises:
        HttpError: as `protocol.http.body.read_body`.
        Saturated: the memory budget or the disk is full.
        ClientGone: the client disconnected before the end.

    """
    context = context_of(request.scope)
    sink = ContentSink(context.spool, context.limits.body_bytes)
    rest = await receive_body(request.scope, request.receive, context, sink)
    if not sink.size:
        return rest
    await in_thread(partial(sink.feed, rest))
    content = sink.finish()
    settle(context, len(content) if isinstance(content, bytes) else 0, sink.stored)
    return content


async def find_upload(file_id: str, context: RequestContext) -> UploadedFile:
    """Return a complete file of the caller.

    Raises:
        HttpError: there is none (404).

    """
    file = await context.files.find(caller_of(context).owner, file_id)
    if file is None or not file.complete:
        raise no_file(file_id)
    return file


async def remove_upload(file_id: str, context: RequestContext) -> None:
    """Delete a file of the caller.

    Raises:
        HttpError: there is none (404).

    """
    if not await context.files.remove(caller_of(context).owner, file_id):
        raise no_file(file_id)


def page_of(files: Sequence[UploadedFile], size: int, cursor: str, param: str) -> tuple[list[UploadedFile], str]:
    """Return the files behind a cursor, newest first, and the cursor of the next page; empty: there is no other page.

    A cursor is a place in the order, not a file or a number: clients delete the files of a page before they ask for
    the next one. `param` is the parameter that has the cursor.

    Raises:
        BadRequest: no page has returned this cursor.

    """
    if cursor:
        created, dash, identity = cursor.partition("-")
        if not dash or not created.isdecimal() or len(created) > _CURSOR_DIGITS:
            raise BadRequest(f"'{param}' must be what a page of this list returned, or be left out.", param=param)
        files = [file for file in files if _place(file) < (int(created), identity)]
    found = sorted(files, key=_place, reverse=True)
    if len(found) <= size:
        return found, ""
    created_at, identity = _place(found[size - 1])
    return found[:size], f"{created_at}-{identity}"


def _place(file: UploadedFile) -> tuple[int, str]:
    return int(file.created * 1_000_000), file.id


def download_of(file: UploadedFile, context: RequestContext, refuse: Refuse) -> Download:
    """Return the response that sends the content of a file to the caller; `refuse` writes an error."""
    stream = _FileStream(file.mime, file.size, context.files.read(caller_of(context).owner, file))
    headers = {**_HEADERS, "content-disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}"}
    return Download(nullcontext(stream), DownloadHead(etag=file.digest[:32], headers=headers), refuse)


class _FileStream:
    """The content of an uploaded file, as a media stream."""

    def __init__(self, mime: str, length: int, pieces: AsyncIterator[bytes]) -> None:
        self.mime, self.length, self._pieces = mime, length, pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces
