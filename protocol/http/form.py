"""Parses `multipart/form-data` while it arrives: long files go to disk; file names are never used as paths."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request

from protocol.http.body import receive_body, settle
from protocol.http.context import context_of
from protocol.http.parallel import in_thread
from protocol.http.spool import Spool, Spooled
from protocol.model import BadRequest, Content

if TYPE_CHECKING:  # imported with the first form
    from python_multipart.multipart import MultipartParser

_OFF_LOOP_BYTES = 1024 * 1024
_MOST_IN_MEMORY = 256 * 1024
"""A longer file goes to disk."""
_MOST_PARTS = 128
_MOST_FIELD_BYTES = 256 * 1024
_NAME_SHOWN = 64


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A part with a file name."""

    field: str
    name: str
    """The file name that the caller sent; used only as a label."""
    mime: str | None
    """The media type that the caller sent."""
    data: Content
    """The content; a file that is too long is cut, and its length exceeds the limit."""

    def __repr__(self) -> str:
        """Return a text without the content."""
        return f"Upload(field={self.field!r}, bytes={len(self.data)})"


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """The fields and files of a form."""

    fields: dict[str, str]
    """Text parts by name."""
    files: tuple[Upload, ...]
    """File parts in order."""


def is_form(request: Request) -> bool:
    """Return whether a request's body is a form."""
    content_type = request.headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


async def read_form(request: Request) -> Form:
    """Read a form.

    Raises:
        BadRequest: it is malformed or truncated, has too many or too large parts, or a field twice.
        HttpError: as `protocol.http.body.read_body`.
        Saturated: the memory budget or the disk is full.
        ClientGone: the client disconnected before the end.

    """
    from python_multipart.multipart import parse_options_header

    context = context_of(request.scope)
    boundary = parse_options_header(request.headers.get("content-type", ""))[1].get(b"boundary", b"")
    parts = _Parts(boundary, context.spool, context.limits.file_bytes)
    try:
        rest = await receive_body(request.scope, request.receive, context, parts)
        if len(rest) > _OFF_LOOP_BYTES:
            await in_thread(partial(parts.feed, rest))
        else:
            parts.feed(rest)
        form = parts.finish()
    finally:
        parts.close()
    settle(context, parts.resident, parts.stored)
    return form


class _Parts:
    """Collects the parts of a form (a `Sink` of `protocol.http.body`)."""

    def __init__(self, boundary: bytes, spool: Spool, most: int) -> None:
        self._boundary = boundary
        self._spool, self._most = spool, most
        self._fields: dict[str, str] = {}
        self._files: list[Upload] = []
        self._ended = False
        self._count = 0
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value, self._data = bytearray(), bytearray(), bytearray()
        self._file: Spooled | None = None
        self._options: dict[bytes, bytes] = {}
        self._kept = 0
        self.stored = 0
        self._parser: MultipartParser | None = None

    @property
    def resident(self) -> int:
        """The number of bytes in memory."""
        return self._kept + len(self._data)

    def feed(self, block: bytes) -> None:
        """Parse the next block of the body.

        Raises:
            BadRequest: the form is malformed.
            Saturated: the disk is full.

        """
        with _refusing():
            self._opened().write(block)

    def finish(self) -> Form:
        """Return the form.

        Raises:
            BadRequest: it is truncated.

        """
        with _refusing():
            self._opened().finalize()
        if not self._ended:
            raise BadRequest("The request's body ends before the form's last boundary.")
        return Form(fields=self._fields, files=tuple(self._files))

    def close(self) -> None:
        """Drop the parser, which refers to this object: only the garbage collector would free this cycle."""
        self._parser = None

    def _opened(self) -> "MultipartParser":
        if not self._boundary:
            raise BadRequest("The Content-Type header has no `boundary` parameter.")
        if self._parser is None:
            from python_multipart.multipart import MultipartParser

            self._parser = MultipartParser(
                self._boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._more_data,
                    "on_part_end": self._end,
                    "on_end": lambda: setattr(self, "_ended", True),
                },
            )
        return self._parser

    def _begin(self) -> None:
        self._count += 1
        if self._count > _MOST_PARTS:
            raise BadRequest(f"The form has more than {_MOST_PARTS} parts.")
        self._headers, self._data, self._file = {}, bytearray(), None

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        from python_multipart.multipart import parse_options_header

        kind, self._options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or not self._options.get(b"name"):
            raise BadRequest("A part of the form has no name.")
        if any(b"\0" in value for value in self._options.values()):
            raise BadRequest("A name in the form has a NUL character.")

    def _more_data(self, data: bytes, start: int, end: int) -> None:
        if b"filename" not in self._options and len(self._data) + end - start > _MOST_FIELD_BYTES:
            message = f"The form's field '{_shown(self._options[b'name'])}' is longer than {_MOST_FIELD_BYTES} bytes."
            raise BadRequest(message, param=_shown(self._options[b"name"]))
        self._data += memoryview(data)[start:end]
        if len(self._data) > _MOST_IN_MEMORY:  # it is a file: a field may not be as long
            self._file = self._file or self._spool.file(self._most)
            self._write(self._file)

    def _write(self, file: Spooled) -> None:
        self.stored += len(self._data)
        file.write(self._data)
        self._data = bytearray()

    def _end(self) -> None:
        if self._file is None:
            self._kept += len(self._data)
        name = _text(self._options[b"name"], None)
        param = _shown(self._options[b"name"])
        if b"filename" in self._options:
            content: Content
            if self._file is not None:
                self._write(self._file)
                content = self._file.finish()
            else:
                content = bytes(self._data)
            mime = self._headers.get(b"content-type")
            upload = Upload(
                field=name,
                name=_text(self._options[b"filename"], param),
                mime=mime.decode("latin-1").partition(";")[0].strip() if mime is not None else None,
                data=content,
            )
            self._files.append(upload)
            self._data = bytearray()
            return
        if name in self._fields:
            raise BadRequest(f"The form has the field '{param}' twice.", param=param)
        self._fields[name] = _text(bytes(self._data), param)
        self._data = bytearray()


@contextmanager
def _refusing() -> Generator[None]:
    """Turn errors of the parser into BadRequest."""
    from python_multipart.exceptions import FormParserError

    try:
        yield
    except FormParserError:
        raise BadRequest("The request's body is not valid multipart/form-data.") from None


def _text(data: bytes, param: str | None) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        what = f"The form's field '{param}'" if param else "A name in the form"
        raise BadRequest(f"{what} is not valid UTF-8.", param=param, code="invalid_utf8") from None


def _shown(name: bytes) -> str:
    text = name.decode("utf-8", "replace")[:_NAME_SHOWN]
    return "".join(character if character.isprintable() else "?" for character in text)
