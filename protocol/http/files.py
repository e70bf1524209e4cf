"""Reads the files of a request: base64, data URLs, links of this gateway, and URLs to fetch.

The type of a file is detected from its bytes and must agree with the declared type. Large files are decoded in worker
threads, in slices, since decoding holds the interpreter's lock.
"""

import binascii
from functools import partial

from protocol.http.context import RequestContext, RequestLimits
from protocol.http.errors import HttpError
from protocol.http.long_strings import LongString
from protocol.http.media_types import sniff
from protocol.http.parallel import run_in_worker
from protocol.http.picture_structure import TooManyBlocks, read_structure
from protocol.http.spool import collect
from protocol.model import BadRequest, Content, FilePart, MediaKind, MediaPart, View, viewed

_OFF_LOOP_BYTES = 1024 * 1024
_SLICE = 1024 * 1024
"""The length of a slice of base64; a multiple of four."""
_LONGEST_PLACEHOLDER = 64
"""The longest placeholder of a string that was decoded while the body arrived."""
_MAX_FRAMES = 1000
_NAME_SHOWN = 128
_SPACE = b" \t\r\n\f"
_TAKEN = "PNG, JPEG, WebP, GIF, PDF, MP4, MOV, WebM, MP3, WAV, OGG, FLAC, M4A and UTF-8 text"
_UNFETCHED = (
    "The URL cannot be fetched: it must use http or https on the default port, lead to a public address, "
    "and return a file of a supported type and size"
)
"""The message for every failure, so that it reveals nothing about the gateway's network."""
_UNSAID = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_TEXTS = ("json", "xml", "yaml", "toml", "javascript", "typescript", "x-sh", "x-python", "sql", "csv", "rtf")
_SUFFIXES = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "application/pdf": "pdf",
    "text/plain": "txt",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
}


async def take(
    data: Content, *, name: str, param: str, declared: str | None = None, context: RequestContext
) -> FilePart:
    """Check a file and return it with its detected type; `declared` is the type that the caller sent.

    Raises:
        BadRequest: `unsupported_image`, `invalid_image` or `image_too_large`; `param` is the path of the file.
        HttpError: the file is too large (413).

    """
    if len(data) > context.limits.file_bytes:
        raise _too_long(context.limits, param)
    if not data:
        raise BadRequest(f"The file at '{param}' is empty.", param=param, code="invalid_image")
    check = partial(_checked_type, data, declared or "", param, context.limits)
    mime = await run_in_worker(check, context.reserved().owner)
    if isinstance(data, bytes):
        return FilePart(data=data, mime=mime, name=_name(name, mime))
    return FilePart(stored=data, mime=mime, name=_name(name, mime))


async def from_base64(
    text: str, *, name: str, param: str, declared: str | None = None, context: RequestContext
) -> FilePart:
    """Read a file in base64, with or without line breaks.

    Raises:
        BadRequest: the text is not base64 (`invalid_image`), or as `take`.
        HttpError: the file is too large (413).

    """
    long = context.long_strings.get(text) if len(text) < _LONGEST_PLACEHOLDER else None
    if long is not None:
        return await _take_long(long, name=name, param=param, declared=declared, context=context)
    if len(text) > context.limits.file_bytes * 2:
        raise _too_long(context.limits, param)
    try:
        decode = partial(_decode, text)
        data = await run_in_worker(decode, context.reserved().owner) if len(text) > _OFF_LOOP_BYTES else decode()
    except ValueError:
        raise _no_base64(param) from None
    return await take(data, name=name, param=param, declared=declared, context=context)


async def _take_long(
    long: LongString, *, name: str, param: str, declared: str | None = None, context: RequestContext
) -> FilePart:
    """Read a file whose base64 was decoded while the body arrived."""
    if long.file is None:
        raise _no_base64(param)
    return await take(long.file, name=name, param=param, declared=declared, context=context)


async def from_data_url(url: str, *, name: str, param: str, context: RequestContext) -> FilePart:
    """Read a file from a `data:` URL.

    Raises:
        BadRequest: the URL is malformed (`invalid_image`), or as `take`.
        HttpError: the file is too large (413).

    """
    long = context.long_strings.get(url) if len(url) < _LONGEST_PLACEHOLDER else None
    head, comma, content = (long.head if long is not None else url).partition(",")
    declared, *extras = head[len("data:") :].split(";")
    if not comma or not extras or extras[-1].strip().lower() != "base64":
        message = f"The data URL at '{param}' is malformed: send 'data:<media type>;base64,<content>'."
        raise BadRequest(message, param=param, code="invalid_image")
    if long is not None:
        return await _take_long(long, name=name, param=param, declared=declared, context=context)
    return await from_base64(content, name=name, param=param, declared=declared, context=context)


async def from_url(url: str, *, name: str, param: str, context: RequestContext) -> FilePart | MediaPart:
    """Read the file at a URL: a data URL, a link of this gateway, or a public URL to fetch.

    Raises:
        BadRequest: as `take`, or `image_url_not_allowed`, `image_url_unreachable`, `media_gone`.
        HttpError: the file is too large (413).

    """
    if url[:5].lower() == "data:":
        return await from_data_url(url, name=name, param=param, context=context)
    ref = context.links.open(url, context.caller) if context.caller is not None else None
    if ref is not None:
        return MediaPart(ref=ref)
    if context.links.ours(url):
        text = "This media link has expired or belongs to another license: send the content itself"
        raise BadRequest(f"{text} (at '{param}').", param=param, code="media_gone")
    try:
        most = context.limits.file_bytes
        keep = partial(collect, hold=context.reserved(), spool=context.spool, most=most)
        data = await context.fetch(url, keep, most=most, license_id=context.reserved().owner)
        return await take(data, name=name, param=param, context=context)
    except BadRequest as error:
        if error.code == "image_url_not_allowed":
            error.param = param
            raise
        raise BadRequest(f"{_UNFETCHED} (at '{param}').", param=param, code="image_url_unreachable") from None


def require(part: FilePart | MediaPart, kind: MediaKind, param: str) -> FilePart | MediaPart:
    """Return the part after checking its kind.

    Raises:
        BadRequest: the part is of another kind; `param` is its path.

    """
    found = part.ref.kind.value if isinstance(part, MediaPart) else part.mime.partition("/")[0]
    if found == kind.value:
        return part
    raise BadRequest(
        f"The file at '{param}' is not of the kind '{kind}': send one that is.", param=param, code=f"unsupported_{kind}"
    )


def _decode(text: str) -> bytes:
    """Decode base64.

    Raises:
        ValueError: the text is not base64.

    """
    coded = text.encode("ascii")
    if any(space in coded for space in _SPACE):
        coded = b"".join(coded[at : at + _SLICE].translate(None, _SPACE) for at in range(0, len(coded), _SLICE))
    pieces = [coded[at : at + _SLICE] for at in range(0, len(coded), _SLICE)]
    if any(b"=" in piece for piece in pieces[:-1]):
        raise binascii.Error("the padding is not at the end")
    return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)


def _checked_type(data: Content, declared: str, param: str, limits: RequestLimits) -> str:
    """Check a file and return its type."""
    with viewed(data) as view:
        mime = sniff(view)
        if mime is None:
            message = f"The file at '{param}' has an unsupported type: send {_TAKEN}."
            raise BadRequest(message, param=param, code="unsupported_image")
        if not _agrees(declared.strip().lower(), mime):
            message = f"The file at '{param}' does not match its declared type: its content is '{mime}'."
            raise BadRequest(message, param=param, code="unsupported_image")
        if not mime.startswith("image/"):
            return mime
        _check_structure(view, param, limits)
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


def _agrees(declared: str, mime: str) -> bool:
    """Return whether the declared type agrees with the detected one."""
    if declared in _UNSAID:
        return True
    if declared in {"text/html", "application/xhtml+xml", "image/svg+xml"}:
        return False
    family, _, sort = declared.partition("/")
    if mime == "text/plain":
        return family == "text" or (family == "application" and sort.endswith(_TEXTS))
    if mime == "application/pdf":
        return declared in {"application/pdf", "application/x-pdf"}
    return family == mime.partition("/")[0] or (mime == "audio/ogg" and declared == "application/ogg")


def _no_base64(param: str) -> BadRequest:
    return BadRequest(f"The file at '{param}' is not valid base64.", param=param, code="invalid_image")


def _too_long(limits: RequestLimits, param: str) -> HttpError:
    message = f"The file at '{param}' is too large: send at most {limits.file_bytes} bytes."
    fault = HttpError(413, "request_too_large", message)
    fault.param = param
    return fault


def _name(said: str, mime: str) -> str:
    """Return a file name without folders and special characters; without a name, one by its type."""
    last = said.replace("\\", "/").rpartition("/")[2]
    plain = "".join(c for c in last if c.isprintable() and c not in '"<>|:*?').strip(" .")
    return plain[-_NAME_SHOWN:] or f"file.{_SUFFIXES[mime]}"
