"""The endpoints below `/files`, for clients of Anthropic's."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from protocol.anthropic.errors import AnthropicErrorResponse
from protocol.http.body import encode_json
from protocol.http.context import caller_of, context_of
from protocol.http.errors import ASGIResponse
from protocol.http.form import read_fields
from protocol.http.lenient import LenientDecoder
from protocol.http.uploads import UploadNote, download_of, find_upload, page_of, remove_upload, store_upload
from protocol.model import BadRequest, UploadedFile

_FILE = "file"
_USUAL, _MOST = 20, 1000
_MOST_IDS = 100
_PAGE = "page_"
"""The beginning of a cursor."""


class AnthropicUpload(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an upload, without the file."""

    expires_in_seconds: Annotated[int, Meta(ge=1)] | None = None


class FileMetadata(msgspec.Struct, frozen=True, kw_only=True, tag="file"):
    """An uploaded file."""

    id: str
    filename: str
    mime_type: str
    size_bytes: int
    created_at: datetime
    expires_at: datetime
    downloadable: bool = True


class FileMetadataPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a license's files, newest first."""

    data: list[FileMetadata]
    next_page: str | None = None
    has_more: bool = False
    """This and the ids are for older SDKs."""
    first_id: str | None
    last_id: str | None


class AnthropicFileDeleted(msgspec.Struct, frozen=True, kw_only=True, tag="file_deleted"):
    """A deleted file."""

    id: str


_UPLOADS = LenientDecoder(AnthropicUpload)


async def upload(request: Request) -> ASGIResponse:
    """Store a file of the caller."""
    context = context_of(request.scope)
    body, files = await read_fields(request, _UPLOADS, (_FILE,))
    if len(files) != 1 or files[0].field != _FILE:
        raise BadRequest("Send one file, as the field 'file' of a form (multipart/form-data).", param=_FILE)
    note = UploadNote(name=files[0].name, seconds=body.expires_in_seconds)
    return _json(_metadata(await store_upload(files[0].data, note, context)))


async def list_files(request: Request) -> ASGIResponse:
    """Return a page of the caller's files.

    Raises:
        BadRequest: a parameter is invalid.

    """
    context, query = context_of(request.scope), request.query_params
    limit, ids = query.get("limit") or str(_USUAL), [*query.getlist("ids"), *query.getlist("ids[]")]
    if not limit.isdecimal() or not 1 <= int(limit[:5]) <= _MOST:
        raise BadRequest(f"'limit' must be a number from 1 to {_MOST}.", param="limit")
    files = [*reversed(await context.files.list(caller_of(context).owner))]
    if ids:
        return _json(_page([file for file in files if file.id in ids[:_MOST_IDS]]))
    if query.get("after_id"):
        files = files[_index(files, query["after_id"], "after_id") + 1 :]
    elif query.get("before_id"):
        end = _index(files, query["before_id"], "before_id")
        start = max(0, end - int(limit))
        return _json(_page(files[start:end], has_more=start > 0))
    found, cursor = page_of(files, int(limit), query.get("page", "").removeprefix(_PAGE), "page")
    return _json(_page(found, next_page=f"{_PAGE}{cursor}" if cursor else None, has_more=bool(cursor)))


def _index(files: list[UploadedFile], identity: str, param: str) -> int:
    found = next((index for index, file in enumerate(files) if file.id == identity), None)
    if found is None:
        raise BadRequest(f"'{param}' must be the id of a file of this list.", param=param)
    return found


def _page(files: list[UploadedFile], *, next_page: str | None = None, has_more: bool = False) -> FileMetadataPage:
    return FileMetadataPage(
        data=[_metadata(file) for file in files],
        next_page=next_page,
        has_more=has_more,
        first_id=files[0].id if files else None,
        last_id=files[-1].id if files else None,
    )


async def retrieve(request: Request) -> ASGIResponse:
    """Return a file of the caller, without its content."""
    return _json(_metadata(await find_upload(request.path_params["file"], context_of(request.scope))))


async def delete(request: Request) -> ASGIResponse:
    """Delete a file of the caller."""
    identity = request.path_params["file"]
    await remove_upload(identity, context_of(request.scope))
    return _json(AnthropicFileDeleted(id=identity))


async def content(request: Request) -> ASGIResponse:
    """Send the content of a file, as it was uploaded."""
    context = context_of(request.scope)
    return download_of(await find_upload(request.path_params["file"], context), context, AnthropicErrorResponse)


def _metadata(file: UploadedFile) -> FileMetadata:
    return FileMetadata(
        id=file.id,
        filename=file.name,
        mime_type=file.mime,
        size_bytes=file.size,
        created_at=datetime.fromtimestamp(file.created, UTC),
        expires_at=datetime.fromtimestamp(file.expires, UTC),
    )


def _json(value: FileMetadata | FileMetadataPage | AnthropicFileDeleted) -> Response:
    return Response(encode_json(value), media_type="application/json")
