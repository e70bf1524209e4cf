"""The endpoints below `/files`: uploads that later requests name by id."""

from starlette.requests import Request
from starlette.responses import Response

from protocol.http.body import encode_json
from protocol.http.context import caller_of, context_of
from protocol.http.errors import ASGIResponse
from protocol.http.form import read_fields
from protocol.http.uploads import UploadNote, download_of, find_upload, remove_upload, store_upload
from protocol.model import BadRequest, UploadedFile
from protocol.openai.errors import error_response
from protocol.openai.files import wire

_FILE = "file"
_MOST = 10_000
"""The most files of one page, and the number without `limit`."""
_TAKEN = ("user_data", "vision", "assistants")
_REFUSED = {
    "batch": "there are no batches: send the requests one by one, several at a time",
    "evals": "there are no evals: send the prompts to '/v1/chat/completions', and compare the answers",
    "fine-tune": "no model here can be trained: put instructions and examples into the prompt",
}


async def upload(request: Request) -> ASGIResponse:
    """Store a file of the caller."""
    context = context_of(request.scope)
    body, files = await read_fields(request, wire.UPLOADS, (_FILE,))
    if body.purpose not in _TAKEN:
        advice = _REFUSED.get(body.purpose, "send 'user_data', or 'vision' for a picture")
        text = f"Files for the purpose '{body.purpose[:64]}' are not stored here: {advice}."
        raise BadRequest(text, param="purpose", code="unsupported_value")
    if len(files) != 1 or files[0].field != _FILE:
        raise BadRequest("Send one file, as the field 'file' of a form (multipart/form-data).", param=_FILE)
    note = UploadNote(
        name=files[0].name,
        purpose=body.purpose,
        seconds=body.expires_after.seconds if body.expires_after is not None else None,
    )
    return _json(_shown(await store_upload(files[0].data, note, context)))


async def list_files(request: Request) -> ASGIResponse:
    """Return a page of the caller's files.

    Raises:
        BadRequest: a parameter is invalid.

    """
    context, query = context_of(request.scope), request.query_params
    order, limit, after = query.get("order") or "desc", query.get("limit") or str(_MOST), query.get("after")
    if order not in {"asc", "desc"}:
        raise BadRequest("'order' must be 'asc' or 'desc'.", param="order")
    if not limit.isdecimal() or not 1 <= int(limit[:6]) <= _MOST:
        raise BadRequest(f"'limit' must be a number from 1 to {_MOST}.", param="limit")
    shown = [_shown(file) for file in await context.files.list(caller_of(context).owner)]
    found = [file for file in shown if query.get("purpose") in {None, "", file.purpose}]
    if order == "desc":
        found.reverse()
    ids = [file.id for file in found]
    if after and after not in ids:
        raise BadRequest("'after' must be the id of a file of this list.", param="after")
    start = ids.index(after) + 1 if after else 0
    page = found[start : start + int(limit)]
    return _json(
        wire.FileList(
            data=page,
            first_id=page[0].id if page else "",
            last_id=page[-1].id if page else "",
            has_more=start + len(page) < len(found),
        )
    )


async def retrieve(request: Request) -> ASGIResponse:
    """Return a file of the caller, without its content."""
    return _json(_shown(await find_upload(request.path_params["file"], context_of(request.scope))))


async def delete(request: Request) -> ASGIResponse:
    """Delete a file of the caller."""
    identity = request.path_params["file"]
    await remove_upload(identity, context_of(request.scope))
    return _json(wire.FileDeleted(id=identity))


async def content(request: Request) -> ASGIResponse:
    """Send the content of a file, as it was uploaded."""
    context = context_of(request.scope)
    return download_of(await find_upload(request.path_params["file"], context), context, error_response)


def _shown(file: UploadedFile) -> wire.OpenAIFile:
    return wire.OpenAIFile(
        id=file.id,
        bytes=file.size,
        created_at=int(file.created),
        expires_at=int(file.expires),
        filename=file.name,
        purpose=file.purpose if file.purpose in _TAKEN else _TAKEN[0],
    )


def _json(value: wire.OpenAIFile | wire.FileList | wire.FileDeleted) -> Response:
    return Response(encode_json(value), media_type="application/json")
