"""The simulated upload host: uploads in one request, and in two as browsers send them. Source: "Files in"."""

import os
import re
import secrets
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from email.parser import BytesHeaderParser
from email.policy import HTTP
from io import BytesIO
from zipfile import BadZipFile, ZipFile

import msgspec

from protocol.model import StoredFile, media_type_of
from transports.clock import Clock

_BOUNDARY = re.compile(r"""multipart/form-data; ?boundary="?([A-Za-z0-9'()+_,./:=?-]{1,70})"?""")
_HEAD_LIMIT = 4096
_OFFICE = "application/vnd.openxmlformats-officedocument"
_DOCUMENTS = {
    "word/document.xml": f"{_OFFICE}.wordprocessingml.document",
    "xl/workbook.xml": f"{_OFFICE}.spreadsheetml.sheet",
    "ppt/presentation.xml": f"{_OFFICE}.presentationml.presentation",
}
_MOST_OPEN = 1000


class StoredUpload(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was uploaded."""

    content: StoredFile
    mime: str
    until: float
    name: str = ""
    """Its name in the turn that sends it."""

    def line(self) -> str:
        """Return a line with name, type and length."""
        return f"- {self.name} ({self.mime}, {len(self.content)} bytes)"


class UploadHost:
    """Keeps uploads on disk by their path for a limited time."""

    def __init__(self, clock: Clock, *, seconds: float, most_bytes: int) -> None:
        """Keep each upload for `seconds`, and at most `most_bytes` in all."""
        self._clock, self._seconds, self._most = clock, seconds, most_bytes
        self._kept: OrderedDict[str, StoredUpload] = OrderedDict()
        self._bytes = 0

    def keep(self, content: bytes) -> str:
        """Keep a file; return its path."""
        path = f"/contrib_service/ttl_1d/{secrets.token_hex(16)}"
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            stored = StoredFile(os.dup(file.fileno()), len(content), b"")
        until = self._clock.monotonic() + self._seconds
        self._kept[path] = StoredUpload(content=stored, mime=mime_of(content), until=until)
        self._bytes += len(content)
        self._evict()
        return path

    def find(self, path: str) -> StoredUpload | None:
        """Return the file of a path if it is still kept."""
        self._evict()
        return self._kept.get(path)

    def _evict(self) -> None:
        now = self._clock.monotonic()
        while self._kept and (self._bytes > self._most or next(iter(self._kept.values())).until <= now):
            self._bytes -= len(self._kept.popitem(last=False)[1].content)


class RefusedError(ValueError):
    """The request is refused; the message names the wrong part."""


class Resumable:
    """Uploads in two requests that have been started and not finished."""

    def __init__(self) -> None:
        """Start without uploads."""
        self._open: OrderedDict[str, int | None] = OrderedDict()

    def start(self, headers: Mapping[str, str]) -> str:
        """Start an upload; return its token.

        Raises:
            RefusedError: the request does not start an upload.

        """
        if headers.get("x-goog-upload-command") != "start":
            raise RefusedError("X-Goog-Upload-Command")
        length = headers.get("x-goog-upload-header-content-length", "")
        token = secrets.token_urlsafe(16)
        self._open[token] = int(length) if length.isdecimal() else None
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return token

    def finish(self, token: str, headers: Mapping[str, str], content: bytes) -> bytes:
        """Finish an upload; return its content.

        Raises:
            RefusedError: the upload is unknown, or a header or the length is wrong.

        """
        if headers.get("x-goog-upload-command", "").replace(" ", "") != "upload,finalize":
            raise RefusedError("X-Goog-Upload-Command")
        if token not in self._open:
            raise RefusedError("no such upload")
        length = self._open.pop(token)
        if length not in {None, len(content)}:
            raise RefusedError("not of the length that was announced")
        return content


def only_file(content_type: str, body: bytes) -> bytes:
    """Return the content of a multipart body that has exactly one part, `file`.

    Raises:
        ValueError: the body is not of this form; the message says why.

    """
    boundary = _BOUNDARY.fullmatch(content_type)
    if boundary is None:
        raise ValueError("not multipart")
    start, end = f"--{boundary[1]}\r\n".encode(), f"\r\n--{boundary[1]}--".encode()
    stop = body.rfind(end)
    if not body.startswith(start) or stop < 0 or body[stop + len(end) :] not in (b"", b"\r\n"):
        raise ValueError("the multipart body is not whole")
    head, blank, content = body[len(start) : stop].partition(b"\r\n\r\n")
    if not blank or len(head) > _HEAD_LIMIT:
        raise ValueError("the part has no head")
    if b"\r\n" + start in content:
        raise ValueError("more than one part")
    disposition = BytesHeaderParser(policy=HTTP).parsebytes(head + b"\r\n\r\n")["content-disposition"]
    if disposition is None or disposition.content_disposition != "form-data":
        raise ValueError("the part has no Content-Disposition")
    if disposition.params.get("name") != "file":
        raise ValueError("the part is not called file")
    return content


def mime_of(content: bytes) -> str:
    """Return the type of a file, by its bytes: text first, since words may begin as other files do."""
    try:
        is_text = "\x00" not in content.decode()
    except UnicodeDecodeError:
        is_text = False
    if is_text and not content.startswith(b"%PDF-"):
        return "text/plain"
    if not content.startswith(b"PK\x03\x04"):
        return media_type_of(content) or "application/octet-stream"
    try:
        with ZipFile(BytesIO(content)) as archive:
            names = set(archive.namelist())
            said = archive.read("mimetype").decode() if "mimetype" in names else "application/zip"
    except (BadZipFile, UnicodeDecodeError):
        return "application/zip"
    return next((mime for name, mime in _DOCUMENTS.items() if name in names), said)
