"""Wire structs of the files API, with OpenAI's names."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.http.lenient import LenientDecoder


class ExpiresAfter(msgspec.Struct, frozen=True, kw_only=True):
    """How long a file is to be kept after its upload."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=1)]


class FileUpload(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an upload, without the file."""

    purpose: str
    expires_after: ExpiresAfter | None = None


class OpenAIFile(msgspec.Struct, frozen=True, kw_only=True):
    """An uploaded file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a license's files."""

    object: Literal["list"] = "list"
    data: list[OpenAIFile]
    first_id: str
    last_id: str
    has_more: bool


class FileDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted file."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


UPLOADS = LenientDecoder(FileUpload)
