"""Converts a video request to a job; refuses fields that are not supported."""

import secrets
from collections.abc import Mapping

import msgspec
from starlette.requests import Request

from protocol.http.context import RequestContext, caller_of
from protocol.http.files import FileField, from_id, from_url, take
from protocol.http.form import Upload, read_fields
from protocol.http.picture_parameters import read_picture_parameters, refuse_for_films
from protocol.model import (
    BadRequest,
    Caller,
    Capability,
    Catalogue,
    GenerationRequest,
    Job,
    JobKind,
    JobPage,
    MediaKind,
    Part,
    Role,
    Selection,
    TextPart,
    Turn,
    Unsupported,
    VideoOptions,
)
from protocol.openai.videos import wire, write

_REFERENCE = "input_reference"
_SIZES = {(16, 9): "1280x720", (9, 16): "720x1280"}
_SECONDS = "8"
"""The length of a video by default."""
_MOST_LISTED = 100
_REMIX = "Make a video that is described so:\n\n{described}\n\nBut change this: {change}"


async def read_body_of(request: Request) -> tuple[wire.VideoRequest, Upload | None]:
    """Read a body of `/videos`: JSON, or a form with at most one file.

    Raises:
        BadRequest: the body is malformed.
        GatewayError, ClientGone: as `read_fields`.

    """
    body, files = await read_fields(request, wire.REQUESTS, (_REFERENCE,))
    for number, upload in enumerate(files):
        if upload.key != _REFERENCE or number:
            message = f"The form has an unknown file '{upload.label}': send at most one, as 'input_reference'."
            raise BadRequest(message, param=upload.label)
    return body, next(iter(files), None)


def select(name: str | None, catalogue: Catalogue, caller: Caller) -> Selection:
    """Return the video model: a base means its `-video` form, no name the first that the license allows.

    Raises:
        Unsupported: the model makes no videos.
        ModelUnknown: the model does not exist, or has no `-video` form.

    """
    if name is None:
        filming = [one for one in catalogue.selections() if one.capability is Capability.VIDEO and not one.deprecated]
        return next((one for one in filming if caller.may_use(one)), filming[0])
    selection = catalogue.resolve(name)
    if selection.capability is Capability.CHAT:
        selection = catalogue.resolve(f"{selection.name}-{Capability.VIDEO}")
    if selection.capability is not Capability.VIDEO:
        raise Unsupported(f"The model '{selection.id}' makes no videos: use a '-video' model.", param="model")
    return selection


async def read(
    body: wire.VideoRequest,
    upload: Upload | None,
    selection: Selection,
    context: RequestContext,
) -> Job:
    """Convert a request to a new job.

    Raises:
        BadRequest: a field is invalid or not supported; `param` is its path.
        HttpError: the image is too large (413).

    """
    if not body.prompt.strip():
        raise BadRequest("The prompt is empty: describe the video.", param="prompt")
    pictures = read_picture_parameters(body, context.query, draws=False)
    refuse_for_films(pictures)
    size, seconds = body.size or _SIZES[pictures.aspect or (16, 9)], str(body.seconds or _SECONDS)
    prompt = f"{body.prompt}\n\n(The video must be {seconds} seconds long.)" if body.seconds else body.prompt
    reference = await _reference(body, upload, context)
    width, _, height = size.partition("x")
    request = GenerationRequest(
        id=context.id,
        caller=caller_of(context),
        selection=selection,
        turns=(Turn(role=Role.USER, parts=(*reference, TextPart(text=prompt))),),
        aspect=(16, 9) if int(width) > int(height) else (9, 16),
        pixels=int(width) * int(height) if body.size else None,
        video=VideoOptions(seconds=body.seconds),
    )
    return Job(
        id=f"video_{secrets.token_hex(16)}",
        kind=JobKind.VIDEO,
        request=request,
        model=selection.id,
        created=context.created,
        details={"prompt": body.prompt, "size": size, "seconds": seconds},
    )


def remix_of(earlier: Job, change: str, context: RequestContext) -> Job:
    """Return the job of a video that changes an earlier one, or is described so; it has no picture to start from.

    Raises:
        BadRequest: the prompt is empty.

    """
    if not change.strip():
        raise BadRequest("The prompt is empty: describe the change.", param="prompt")
    described = "\n\n".join(turn.text for turn in earlier.request.turns)
    request = msgspec.structs.replace(
        earlier.request,
        id=context.id,
        caller=caller_of(context),
        turns=(Turn(role=Role.USER, parts=(TextPart(text=_REMIX.format(described=described, change=change)),)),),
        handle=None,
        video=VideoOptions(edits=write.film(earlier), change=change),
    )
    return Job(
        id=f"video_{secrets.token_hex(16)}",
        kind=JobKind.VIDEO,
        request=request,
        model=earlier.model,
        created=context.created,
        details={**earlier.details, "prompt": change, "remixed_from": earlier.id},
    )


async def _reference(body: wire.VideoRequest, upload: Upload | None, context: RequestContext) -> tuple[Part, ...]:
    reference = body.input_reference
    if upload is not None:
        field = FileField(param=_REFERENCE, kind=MediaKind.IMAGE, name=upload.name)
        return (await take(upload.data, field, context),)
    if reference is None or reference == wire.Reference():
        return ()
    field = FileField(param=_REFERENCE, kind=MediaKind.IMAGE, name=_REFERENCE)
    if isinstance(reference, str):
        return (await from_url(reference, field, context),)
    if reference.image_url is not None:
        named = msgspec.structs.replace(field, param=f"{_REFERENCE}.image_url")
        return (await from_url(reference.image_url, named, context),)
    named = msgspec.structs.replace(field, param=f"{_REFERENCE}.file_id")
    return (await from_id(reference.file_id or "", named, context),)


def page(query: Mapping[str, str]) -> JobPage:
    """Read the page to list from the query.

    Raises:
        BadRequest: a value is out of range.

    """
    limit, order = query.get("limit") or "20", query.get("order") or "desc"
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= _MOST_LISTED):
        raise BadRequest(f"'limit' must be a number from 1 to {_MOST_LISTED}.", param="limit")
    if order not in {"asc", "desc"}:
        raise BadRequest("'order' must be 'asc' or 'desc'.", param="order")
    return JobPage(after=query.get("after") or None, limit=int(limit), order="asc" if order == "asc" else "desc")
