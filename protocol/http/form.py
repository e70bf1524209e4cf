"""Reads `multipart/form-data` from a body that is in memory: no temporary files, and names are never paths."""

import anyio.to_thread
import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from protocol.model import BadRequest

_OFF_LOOP_BYTES = 1024 * 1024
_MOST_PARTS = 128
_MOST_FIELD_BYTES = 256 * 1024
_NAME_SHOWN = 64


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A part with a file name."""

    field: str
    name: str
    """What the caller calls the file: a label, nothing else."""
    mime: str | None
    """What the caller says that it is."""
    data: bytes

    def __repr__(self) -> str:
        """Show no content."""
        return f"Upload(field={self.field!r}, bytes={len(self.data)})"


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """A form, read."""

    fields: dict[str, str]
    """The parts that are text; each name once."""
    files: tuple[Upload, ...]
    """The parts that are files, in the caller's order."""


def is_form(content_type: str) -> bool:
    """Say whether a body of this type is a form."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


async def read_form(content_type: str, body: bytes) -> Form:
    """Read a form; a long one beside the event loop.

    Raises:
        BadRequest: it is malformed, has no end, has too many or too large parts, or says something twice.

    """
    if len(body) > _OFF_LOOP_BYTES:
        return await anyio.to_thread.run_sync(_read, content_type, body)
    return _read(content_type, body)


def _read(content_type: str, body: bytes) -> Form:
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise BadRequest("The request's Content-Type names no boundary of the form's parts.")
    parts = _Parts()
    try:
        parser = parts.parser(boundary)
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise BadRequest("The request's body is not valid multipart/form-data.") from None
    if not parts.ended:
        raise BadRequest("The request's body ends before the form's last boundary.")
    return Form(fields=parts.fields, files=tuple(parts.files))


class _Parts:
    """Parts in the making."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.files: list[Upload] = []
        self.ended = False
        self._count = 0
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value, self._data = bytearray(), bytearray(), bytearray()
        self._options: dict[bytes, bytes] = {}

    def parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._more_header,
                "on_header_value": self._more_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._more_data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def _begin(self) -> None:
        self._count += 1
        if self._count > _MOST_PARTS:
            raise BadRequest(f"The form has more than {_MOST_PARTS} parts.")
        self._headers, self._data = {}, bytearray()

    def _more_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _more_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
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

    def _end(self) -> None:
        name = _text(self._options[b"name"], None)
        param = _shown(self._options[b"name"])
        if b"filename" in self._options:
            mime = self._headers.get(b"content-type")
            upload = Upload(
                field=name,
                name=_text(self._options[b"filename"], param),
                mime=mime.decode("latin-1").partition(";")[0].strip() if mime is not None else None,
                data=bytes(self._data),
            )
            self.files.append(upload)
            return
        if name in self.fields:
            raise BadRequest(f"The form has the field '{param}' twice.", param=param)
        self.fields[name] = _text(bytes(self._data), param)

    def _finish(self) -> None:
        self.ended = True


def _text(data: bytes, param: str | None) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        what = f"The form's field '{param}'" if param else "A name in the form"
        raise BadRequest(f"{what} is not valid UTF-8.", param=param, code="invalid_utf8") from None


def _shown(name: bytes) -> str:
    text = name.decode("utf-8", "replace")[:_NAME_SHOWN]
    return "".join(character if character.isprintable() else "?" for character in text)
