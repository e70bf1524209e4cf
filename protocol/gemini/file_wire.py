"""Wire structs of Gemini's files, with Google's names."""

import base64
from datetime import UTC, datetime
from typing import Literal

import msgspec

from protocol.gemini.wire import in_camel_case
from protocol.http.lenient import LenientDecoder
from protocol.model import UploadedFile


class NewGeminiFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a client says of a file before its upload."""

    name: str = ""
    display_name: str = ""
    size_bytes: int | None = None


class FileStart(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the request that begins an upload."""

    file: NewGeminiFile = NewGeminiFile()


class GeminiFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An uploaded file."""

    name: str
    display_name: str
    mime_type: str
    size_bytes: str
    create_time: datetime
    update_time: datetime
    expiration_time: datetime
    sha256_hash: str
    uri: str
    state: Literal["ACTIVE"] = "ACTIVE"
    source: Literal["UPLOADED"] = "UPLOADED"


class FileUploaded(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an upload."""

    file: GeminiFile


class GeminiFilePage(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A page of a license's files."""

    files: list[GeminiFile] = []
    next_page_token: str = ""


_start = LenientDecoder(FileStart)


def decode_start(body: bytes) -> FileStart:
    """Decode the body of a request that begins an upload, which may be empty."""
    return _start.convert(in_camel_case(msgspec.json.decode(body))) if body.strip() else FileStart()


def shown_file(file: UploadedFile, uri: str) -> GeminiFile:
    """Return a file in Google's form."""
    created = datetime.fromtimestamp(file.created, UTC)
    return GeminiFile(
        name=f"files/{file.id}",
        display_name=file.name,
        mime_type=file.mime,
        size_bytes=str(file.size),
        create_time=created,
        update_time=created,
        expiration_time=datetime.fromtimestamp(file.expires, UTC),
        sha256_hash=base64.b64encode(bytes.fromhex(file.digest)).decode(),
        uri=uri,
    )
