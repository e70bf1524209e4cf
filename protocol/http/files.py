"""Reads the files of a request: base64, data URLs, links of this gateway, and URLs to fetch.

The type of a file is detected from its bytes; declared types and names do not matter. Large files are decoded and
checked in worker threads.
"""

import re
from collections.abc import Iterable
from functools import partial
from typing import Literal

import msgspec

from protocol.http.context import RequestContext, RequestLimits, caller_of
from protocol.http.data_urls import decode_base64, is_data_url, parse_data_url
from protocol.http.errors import HttpError
from protocol.http.media_types import SUFFIXES, described, sniff
from protocol.http.parallel import run_in_worker
from protocol.http.picture_structure import TooManyBlocks, read_structure
from protocol.http.spool import ContentWriter, Spool, collect
from protocol.http.text_encoding import as_utf8
from protocol.model import (
    BadRequest,
    Content,
    FilePart,
    MediaKind,
    MediaPart,
    TooLong,
    Turn,
    View,
    media_type_of,
    viewed,
)

_OFF_LOOP_BYTES = 256 * 1024
_LONGEST_PLACEHOLDER = 64
"""The longest placeholder of a string that was decoded while the body arrived."""
_MOST_EXPANSION = 5
"""The most characters per byte of a file: base64 with all characters percent-encoded has four."""
_MAX_FRAMES = 1000
_NAME_SHOWN = 128
_ID_SHOWN = 64
_FREE_BYTES = 64 * 1024
_COPIES = 4
"""The peak memory for storing a request, in multiples of the size of its files, which are stored in base64."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BASE64 = re.compile(r"\s*[A-Za-z0-9+/_-]{32}")
"""The beginning of base64: no picture is shorter, and a URL has a colon before."""
_IMAGES, _SOUNDS = "PNG, JPEG, WebP, GIF, HEIC or AVIF", "MP3, WAV, OGG, FLAC, M4A or WebM"
_SUPPORTED = {
    None: f"{_IMAGES}, PDF, DOCX, XLSX, PPTX, ODT, ODS, ODP, EPUB, MP4, MOV, WebM, {_SOUNDS}, or text in UTF-8",
    MediaKind.IMAGE: _IMAGES,
    MediaKind.AUDIO: _SOUNDS,
    MediaKind.VIDEO: "MP4, MOV or WebM",
}
_UNFETCHED = (
    "The URL cannot be fetched: it must use http or https on the default port, lead to a public address, "
    "and return a file of a supported type and size"
)
"""The message for every failure, so that it reveals nothing about the gateway's network."""


class FileField(msgspec.Struct, frozen=True, kw_only=True):
    """The field of a request that has a file."""

    param: str
    """The path of the field."""
    kind: MediaKind | None = None
    """The kind that the file must have; None: any."""
    name: str = ""
    """The name of the file, as the caller sent it."""

    def refusal(self, problem: Literal["invalid", "unsupported"], message: str) -> BadRequest:
        """Return an error whose code names the kind of file, such as `invalid_image` or `unsupported_file`."""
        return BadRequest(message, param=self.param, code=f"{problem}_{self.kind or 'file'}")


async def reserve_to_store(turns: Iterable[Turn], context: RequestContext) -> None:
    """Reserve the memory that storing the files of a request takes.

    Raises:
        Saturated: the memory budget is full.

    """
    size = sum(part.size for turn in turns for part in turn.parts if isinstance(part, FilePart))
    if size > _FREE_BYTES:
        await context.reserved().raise_to(min(_COPIES * size, context.memory.total))


async def take(data: Content, field: FileField, context: RequestContext) -> FilePart:
    """Check a file and return it with its detected type.

    Text is transcoded to UTF-8, and an AVIF is converted, since the site does not take it.

    Raises:
        BadRequest: the file is broken (`invalid_…`), or not of a supported type or of the field's kind
            (`unsupported_…`), or an image has too many pixels or frames (`image_too_large`).
        HttpError: the file is too large (413).
        Saturated: the disk is full.

    """
    if len(data) > context.limits.file_bytes:
        raise _too_long(context.limits, field)
    if not data:
        raise _empty(field)
    owner = context.reserved().owner
    check = partial(_checked_type, data, field, context.limits)
    mime = await run_in_worker(check, owner)
    mime, _, charset = mime.partition("; charset=")
    if charset:
        transcode = partial(_transcoded, data, charset, context.spool, context.limits.file_bytes)
        try:
            data = await run_in_worker(transcode, owner)
        except TooLong:
            raise _too_long(context.limits, field) from None
        if not data:
            raise _empty(field)
    name = file_name(field.name, mime)
    if mime == "image/avif":
        from protocol.http.avif import without_avif  # imported with the first AVIF

        data = await without_avif(data, field.param, context)
        with viewed(data) as view:
            mime = media_type_of(view) or mime
        name = f"{name.removesuffix('.avif')}.{SUFFIXES[mime]}"
    if isinstance(data, bytes):
        return FilePart(data=data, mime=mime, name=name)
    return FilePart(stored=data, mime=mime, name=name)


async def from_text(text: str, field: FileField, context: RequestContext) -> FilePart:
    """Read a file in base64 or as a data URL.

    Raises:
        BadRequest: the text is neither (`invalid_…`), or as `take`.
        HttpError: the file is too large (413).
        Saturated: the disk is full.

    """
    long = context.long_strings.get(text) if len(text) < _LONGEST_PLACEHOLDER else None
    if long is not None:
        if long.file is None:
            raise _no_base64(field)
        return await take(long.file, field, context)
    if len(text) > context.limits.file_bytes * _MOST_EXPANSION:
        raise _too_long(context.limits, field)
    decode = partial(_decoded, text, field)
    data = await run_in_worker(decode, context.reserved().owner) if len(text) > _OFF_LOOP_BYTES else decode()
    return await take(data, field, context)


async def from_id(file_id: str, field: FileField, context: RequestContext) -> FilePart:
    """Read a file that the caller uploaded before.

    Raises:
        HttpError: the caller has no such file (404), or it is too large now (413).
        BadRequest: as `take`.
        Saturated: the memory budget or the disk is full, or the store failed.

    """
    owner = caller_of(context).owner
    file = await context.files.find(owner, file_id)
    if file is None or not file.complete:
        error = no_file(file_id)
        error.param = field.param
        raise error
    pieces, most = context.files.read(owner, file), max(file.size, context.limits.file_bytes)
    data = await collect(pieces, context.reserved(), context.spool, most)
    return await take(data, msgspec.structs.replace(field, name=field.name or file.name), context)


def no_file(file_id: str) -> HttpError:
    """Return the error for an id that belongs to no file of the caller."""
    shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in file_id[:_ID_SHOWN])
    message = f"The file '{shown}' is not stored: it has expired, was deleted, or belongs to another license."
    return HttpError(404, "file_not_found", message)


async def from_url(url: str, field: FileField, context: RequestContext) -> FilePart | MediaPart:
    """Read the file at a URL: a data URL or bare base64, a link of this gateway, or a public URL to fetch.

    Raises:
        BadRequest: as `from_text`, or `image_url_not_allowed`, `image_url_unreachable`, `media_gone`.
        HttpError: the file is too large (413).
        Saturated: the memory budget or the disk is full.

    """
    if is_data_url(url) or _BASE64.match(url) or url in context.long_strings:
        return await from_text(url, field, context)
    url, param = url.strip(), field.param
    ref = context.links.open(url, context.caller) if context.caller is not None else None
    if ref is not None:
        if field.kind not in {None, ref.kind}:
            message = f"The link at '{param}' leads to media of the kind '{ref.kind}': send '{field.kind}'."
            raise field.refusal("unsupported", message)
        return MediaPart(ref=ref)
    if context.links.ours(url):
        text = "This media link has expired or belongs to another license: send the content itself"
        raise BadRequest(f"{text} (at '{param}').", param=param, code="media_gone")
    if not _SCHEME.match(url):
        message = f"'{param}' is not a URL: send an http or https URL, or 'data:<media type>;base64,<content>'."
        raise field.refusal("invalid", message)
    try:
        return await take(await _fetched(url, context), field, context)
    except BadRequest as error:
        if error.code == "image_url_not_allowed":
            error.param = param
            raise
        raise BadRequest(f"{_UNFETCHED} (at '{param}').", param=param, code="image_url_unreachable") from None


async def _fetched(url: str, context: RequestContext) -> Content:
    """Fetch a file, or return it if this request has fetched it for another model."""
    known = context.fetched
    if known is not None and url in known:
        return known[url]
    most = context.limits.file_bytes
    keep = partial(collect, hold=context.reserved(), spool=context.spool, most=most)
    data = await context.fetch(url, keep, most=most, license_id=context.reserved().owner)
    if known is not None:
        known[url] = data
    return data


def _decoded(text: str, field: FileField) -> bytes:
    """Decode base64 or a data URL."""
    try:
        if not is_data_url(text):
            return decode_base64(text)
        url = parse_data_url(text)
        if url is not None:
            return url.decoded()
    except ValueError:
        raise _no_base64(field) from None
    message = f"The data URL at '{field.param}' has no comma: send 'data:<media type>;base64,<content>'."
    raise field.refusal("invalid", message)


def _checked_type(data: Content, field: FileField, limits: RequestLimits) -> str:
    """Check a file and return its type."""
    with viewed(data) as view:
        mime = sniff(view)
        if mime is None or (field.kind is not None and not mime.startswith(f"{field.kind}/")):
            message = f"The file at '{field.param}' is {described(view)}: send {_SUPPORTED[field.kind]}."
            raise field.refusal("unsupported", message)
        if mime.startswith("image/"):
            _check_structure(view, field.param, limits)
    return mime


def _check_structure(view: View, param: str, limits: RequestLimits) -> None:
    try:
        structure = read_structure(view)
    except TooManyBlocks:
        message = f"The image at '{param}' has too many blocks for its length: save it again, without metadata."
        raise BadRequest(message, param=param, code="invalid_image") from None
    if structure is None:
        message = f"The image at '{param}' is broken: its header has no size."
        raise BadRequest(message, param=param, code="invalid_image")
    width, height = structure.stored_size
    if width * height > limits.pixels:
        message = f"The image at '{param}' is too large: send at most {limits.pixels} pixels."
        raise BadRequest(message, param=param, code="image_too_large")
    if structure.frames > _MAX_FRAMES:
        message = f"The animation at '{param}' is too long: send at most {_MAX_FRAMES} frames."
        raise BadRequest(message, param=param, code="image_too_large")


def _transcoded(data: Content, encoding: str, spool: Spool, most: int) -> Content:
    writer = ContentWriter(spool, most)
    with viewed(data) as view:
        for piece in as_utf8(view, encoding):
            writer.write(piece)
    return writer.finish()


def _empty(field: FileField) -> BadRequest:
    return field.refusal("invalid", f"The file at '{field.param}' is empty.")


def _no_base64(field: FileField) -> BadRequest:
    message = f"The file at '{field.param}' is not valid base64: send 'data:<media type>;base64,<content>'."
    return field.refusal("invalid", message)


def _too_long(limits: RequestLimits, field: FileField) -> HttpError:
    message = f"The file at '{field.param}' is too large: send at most {limits.file_bytes} bytes."
    fault = HttpError(413, "request_too_large", message)
    fault.param = field.param
    return fault


def file_name(said: str, mime: str) -> str:
    """Return a file name without folders and special characters; without a name, one by its type."""
    last = said.replace("\\", "/").rpartition("/")[2]
    plain = "".join(c for c in last if c.isprintable() and c not in '"<>|:*?').strip(" .")
    return plain[-_NAME_SHOWN:] or f"file.{SUFFIXES[mime]}"
