"""Reads bodies of JSON or of forms while they arrive: long files go to disk; file names are never used as paths.

A form is `multipart/form-data` (RFC 7578) or `application/x-www-form-urlencoded`; both have the fields of the JSON. A
name such as `metadata[a]`, `image[]` or `image[0]` is a field of an object or an item of a list. A part is a file if it
has a file name, a type that is not of text, or content that is not text.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from protocol.http.body import decode_body, read_json, receive_body, settle
from protocol.http.context import context_of
from protocol.http.lenient import LenientDecoder
from protocol.http.multipart import Headers, MultipartSplitter, PartEnd, TransferDecoder, codec_of, parameters
from protocol.http.parallel import in_thread
from protocol.http.spool import Spool, Spooled
from protocol.model import BadRequest, Content

BodyT = TypeVar("BodyT")

_MULTIPART = "multipart/form-data"
_URLENCODED = "application/x-www-form-urlencoded"
_CHARSET_FIELD = "_charset_"
"""The field that names the charset of the others (RFC 7578, 4.6)."""
_OFF_LOOP_BYTES = 1024 * 1024
_MOST_IN_MEMORY = 256 * 1024
"""A longer file goes to disk; a field may not be longer."""
_MOST_FIELDS = 128
_DEEPEST = 6
_NAME_SHOWN = 64
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])+)")
_KEY = re.compile(r"\[([^\[\]]*)\]")
_INDEX = re.compile(r"\d{1,4}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a form."""

    field: str
    """The field's name, perhaps with an index: `image[]`."""
    name: str
    """The file name that the caller sent, perhaps empty; used only as a label."""
    mime: str | None
    """The media type that the caller sent."""
    data: Content
    """The content; a file that is too long is cut, and its length exceeds the limit."""

    @property
    def key(self) -> str:
        """The field's name without an index."""
        return self.field.partition("[")[0]

    @property
    def label(self) -> str:
        """The field's name without an index, for errors."""
        return _shown(self.key)

    def __repr__(self) -> str:
        """Return a text without the content."""
        return f"Upload(field={self.field!r}, bytes={len(self.data)})"


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """The fields and files of a form."""

    fields: dict[str, Any]
    """Fields as those of JSON: nested, with texts as values."""
    files: tuple[Upload, ...]
    """File parts in order."""


async def read_fields(
    request: Request, decoder: LenientDecoder[BodyT], files: Iterable[str]
) -> tuple[BodyT, tuple[Upload, ...]]:
    """Read a body of JSON or of a form with the same fields; return it, and the files of a form.

    `files` are the fields that may be files, without an index.

    Raises:
        BadRequest: the body is malformed, or a field is wrong.
        GatewayError, ClientGone: as `read_json`.

    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _MULTIPART:
        form = await read_form(request, files, decoder.fields)
        return await decode_body(b"", lambda _: decoder.convert(form.fields)), form.files
    decode = partial(_decode_urlencoded, decoder) if kind == _URLENCODED else decoder.decode
    return await read_json(request, decode), ()


async def read_form(request: Request, files: Iterable[str] = (), texts: Iterable[str] = ()) -> Form:
    """Read a `multipart/form-data` body; `files` are fields that may be files, and `texts` others that may not.

    Raises:
        BadRequest: it is malformed or truncated, has too many or too large parts, or a field twice.
        HttpError: as `protocol.http.body.read_body`.
        Saturated: the memory budget or the disk is full.
        ClientGone: the client disconnected before the end.

    """
    context = context_of(request.scope)
    boundary = parameters(";" + request.headers.get("content-type", "").partition(";")[2]).get("boundary", "")
    parts = _Parts(
        boundary.rstrip().encode(), context.spool, context.limits.file_bytes, frozenset(files), frozenset(texts)
    )
    rest = await receive_body(request.scope, request.receive, context, parts)
    if len(rest) > _OFF_LOOP_BYTES:
        await in_thread(partial(parts.feed, rest))
    else:
        parts.feed(rest)
    form = parts.finish()
    settle(context, parts.resident, parts.stored)
    return form


def _decode_urlencoded(decoder: LenientDecoder[BodyT], body: bytes) -> BodyT:
    """Decode a body of this type; `curl -d` sends JSON with it, too."""
    if body.lstrip().startswith(b"{"):
        return decoder.decode(body)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except UnicodeDecodeError:
        raise
    except ValueError:
        raise BadRequest(f"The form has more than {_MOST_FIELDS} fields.") from None
    return decoder.convert(nested(pairs))


class _Part:
    """One part of a form."""

    def __init__(self, headers: Headers, files: frozenset[str], texts: frozenset[str]) -> None:
        kind, _, rest = headers.get("content-disposition", "").partition(";")
        options = parameters(";" + rest)
        self.field = options.get("name", "")
        if kind.strip().lower() != "form-data" or not self.field:
            message = "A part of the form has no name: give it a header 'Content-Disposition: form-data; name=\"...\"'."
            raise BadRequest(message)
        if any("\0" in value for value in options.values()):
            raise BadRequest("A name in the form has a NUL character.")
        self.shown = _shown(self.field)
        self.file_name = options.get("filename")
        content_type = headers.get("content-type")
        self.mime = content_type.partition(";")[0].strip().lower() if content_type is not None else None
        self.charset = parameters(";" + (content_type or "").partition(";")[2]).get("charset")
        if self.mime is not None and self.mime.startswith("multipart/"):
            message = f"The form's field '{self.shown}' is a form itself: send a part with this name for each file."
            raise BadRequest(message, param=self.shown)
        textual = self.mime in {None, "", "application/json"} or str(self.mime).startswith("text/")
        key = self.field.partition("[")[0]
        self.is_file = not textual or (self.file_name is not None and key not in texts - files)
        self.may_be_file = self.is_file or key in files
        self.transfer = TransferDecoder(headers.get("content-transfer-encoding", ""))
        self.data = bytearray()
        self.file: Spooled | None = None

    @property
    def is_text(self) -> bool:
        """Whether this is a field: it is not called a file, and its content is text."""
        if self.is_file or self.file is not None:
            return False
        try:
            self.data.decode(codec_of(self.charset or "utf-8") or "utf-8")
        except UnicodeDecodeError:
            return not self.may_be_file
        return True

    def value(self, charset: str) -> Any:
        """Return the value of a field; `charset` is the form's.

        Raises:
            BadRequest: it is not a text of its charset, or not the JSON that its type says.

        """
        charset = self.charset or charset
        codec = codec_of(charset)
        if codec is None:
            message = (
                f"The form's field '{self.shown}' has the charset '{_shown(charset)}', which is not known: use UTF-8."
            )
            raise BadRequest(message, param=self.shown)
        try:
            text = self.data.decode(codec).removeprefix("\ufeff")
        except UnicodeDecodeError:
            known = "UTF-8" if codec == "utf-8" else codec
            message = f"The form's field '{self.shown}' is not valid {known}: if it is a file, give it a file name."
            raise BadRequest(message, param=self.shown, code="invalid_utf8") from None
        if self.mime != "application/json":
            return text
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            message = f"The form's field '{self.shown}' has the type application/json, but is not valid JSON."
            raise BadRequest(message, param=self.shown, code="invalid_json") from None


class _Parts:
    """Collects the parts of a form (a `Sink` of `protocol.http.body`)."""

    def __init__(self, boundary: bytes, spool: Spool, most: int, files: frozenset[str], texts: frozenset[str]) -> None:
        self._boundary, self._spool, self._most = boundary, spool, most
        self._file_fields, self._text_fields = files, texts
        self._fields: list[_Part] = []
        self._files: list[Upload] = []
        self._splitter: MultipartSplitter | None = None
        self._part: _Part | None = None
        self._kept = 0
        self.stored = 0

    @property
    def resident(self) -> int:
        """The number of bytes in memory."""
        return self._kept + (len(self._part.data) if self._part is not None else 0)

    def feed(self, block: bytes) -> None:
        """Read the next block of the body.

        Raises:
            BadRequest: the form is malformed.
            Saturated: the disk is full.

        """
        self._splitter = self._splitter or MultipartSplitter(self._boundary)
        for event in self._splitter.feed(block):
            if isinstance(event, Mapping):
                self._part = _Part(event, self._file_fields, self._text_fields)
            elif self._part is not None:
                ended = isinstance(event, PartEnd)
                self._add(self._part, self._part.transfer.decode(b"" if ended else event, last=ended))
                if ended:
                    self._end(self._part)

    def finish(self) -> Form:
        """Return the form, of which at least one block was read.

        Raises:
            BadRequest: it is truncated, or a field is wrong.

        """
        if self._splitter is not None:
            self._splitter.finish()
        declared = (part.data.decode("latin-1").strip() for part in self._fields if part.field == _CHARSET_FIELD)
        charset = next(filter(None, declared), "utf-8")
        fields = [(part.field, part.value(charset)) for part in self._fields if part.field != _CHARSET_FIELD]
        return Form(fields=nested(fields, repeated=self._file_fields), files=tuple(self._files))

    def _add(self, part: _Part, data: bytes | bytearray) -> None:
        """Keep data of a part, on disk if there is much."""
        part.data += data
        if len(part.data) <= _MOST_IN_MEMORY:
            return
        if not part.may_be_file or (not part.is_file and part.data.startswith((b"data:", b"DATA:"))):
            message = f"The form's field '{part.shown}' is longer than {_MOST_IN_MEMORY} bytes"
            advice = ": send it as a file, or in JSON." if part.may_be_file else "."
            raise BadRequest(message + advice, param=part.shown)
        if part.file is None:
            part.file = self._spool.file(self._most)
        self._write(part, part.file)

    def _write(self, part: _Part, file: Spooled) -> None:
        self.stored += len(part.data)
        file.write(part.data)
        part.data = bytearray()

    def _end(self, part: _Part) -> None:
        """Keep a part that is complete."""
        self._part = None
        if part.is_text:
            self._kept += len(part.data)
            self._fields.append(part)
            return
        content: Content
        if part.file is None:
            self._kept += len(part.data)
            content = bytes(part.data)
        else:
            self._write(part, part.file)
            content = part.file.finish()
        name = _CONTROLS.sub(" ", part.file_name or "")
        if name or content:  # else it is an empty field of a browser's form
            self._files.append(Upload(field=part.field, name=name, mime=part.mime or None, data=content))


class _Branch(dict[str, Any]):
    """The fields or items of a field, by what is in the brackets; not an object in JSON."""


def nested(pairs: Sequence[tuple[str, Any]], repeated: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return fields as an object: `a[b]` becomes the field `b` of `a`, and `a[]` or `a[0]` an item of it.

    A name of `repeated` may occur several times without brackets, too.

    Raises:
        BadRequest: a field has several values, or both a value and fields of its own; an empty one does not count.

    """
    count = Counter(name.partition("[")[0] for name, _ in pairs)
    fields: dict[str, Any] = {}
    for name, value in sorted(pairs, key=lambda pair: pair[1] == ""):
        found = _NAME.fullmatch(f"{name}[]" if count[name] > 1 and name in repeated else name)
        keys = [found[1], *_KEY.findall(found[2])] if found else [name]
        if len(keys) > _DEEPEST:
            keys = [name]
        place = fields
        for key in keys[:-1]:
            inner = place.setdefault(key or str(len(place)), _Branch())
            place = inner if isinstance(inner, _Branch) else {keys[-1]: inner}  # it is taken
        last = keys[-1] or str(len(place))
        if value != "" and last in place:
            key = keys[0]
            raise BadRequest(f"The form has several values of '{_shown(key)}': send one.", param=_shown(key))
        place.setdefault(last, value)
    return {name: _listed(value) for name, value in fields.items()}


def _listed(value: Any) -> Any:
    """Return a value with lists in place of the branches whose keys are indexes."""
    if not isinstance(value, _Branch):
        return value
    if all(_INDEX.fullmatch(key) for key in value):
        return [_listed(value[key]) for key in sorted(value, key=int) if value[key] != ""]
    return {key: _listed(item) for key, item in value.items()}


def _shown(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name[:_NAME_SHOWN])
