"""Reads the bodies of image requests: JSON or a form, with the same fields."""

import re
from typing import TypeVar

import msgspec
from starlette.requests import Request

from protocol.http.body import decode_body, read_json
from protocol.http.form import Form, Upload, is_form, read_form
from protocol.model import BadRequest
from protocol.openai.images import wire

AskT = TypeVar("AskT", bound=wire.Ask)

_PICTURE = re.compile(r"images?(\[\d{0,4}\])?")
_MASK = "mask"


class FormFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The uploaded files of a form."""

    pictures: tuple[Upload, ...] = ()
    mask: Upload | None = None


async def read_generation(request: Request) -> wire.Generation:
    """Read a body of `/images/generations`.

    Raises:
        BadRequest: the body is malformed or has pictures.
        GatewayError, ClientGone: as `read_json`.

    """
    if not is_form(request):
        body = await read_json(request, wire.decode_generation)
    else:
        form = await read_form(request)
        body = await _converted(form, wire.Generation)
        for upload in form.files:
            raise _no_pictures(upload.field)
    for field in ("image", "images", "mask"):
        if getattr(body, field) is not None:
            raise _no_pictures(field)
    return body


async def read_edit(request: Request) -> tuple[wire.Edit, FormFiles]:
    """Read a body of `/images/edits`; only a form has files.

    Raises:
        BadRequest: the body is malformed or has a file in an unknown field.
        GatewayError, ClientGone: as `read_json`.

    """
    if not is_form(request):
        return await read_json(request, wire.decode_edit), FormFiles()
    form = await read_form(request)
    return await _converted(form, wire.Edit), _files(form)


async def _converted(form: Form, kind: type[AskT]) -> AskT:
    fields: dict[str, str] = {}
    for name, value in form.fields.items():
        key = name.partition("[")[0] if _PICTURE.fullmatch(name) else name
        if key in fields:
            message = f"The form has several values of '{key}': send the images as files, or use JSON."
            raise BadRequest(message, param=key)
        fields[key] = value
    return await decode_body(b"", lambda _: msgspec.convert(fields, kind, strict=False))


def _files(form: Form) -> FormFiles:
    pictures: list[Upload] = []
    mask: Upload | None = None
    for upload in form.files:
        if not upload.name and not upload.data:
            continue  # an empty field of a browser's form
        if _PICTURE.fullmatch(upload.field):
            pictures.append(upload)
        elif upload.field == _MASK and mask is None:
            mask = upload
        else:
            field = upload.field if upload.field in {_MASK, "markup"} else None
            raise BadRequest(
                "The form has an unknown file: send files as 'image', and at most one as 'mask'.", param=field
            )
    return FormFiles(pictures=tuple(pictures), mask=mask)


def _no_pictures(field: str) -> BadRequest:
    field = field if field in {"image", "images", "image[]", "mask"} else "image"
    return BadRequest("This endpoint takes no images: send them to '/v1/images/edits'.", param=field)
