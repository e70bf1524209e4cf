"""Finds the files of a conversation in its messages, and reads them concurrently.

Messages of the assistant may hold media links of this gateway. The linked media are part of the conversation, so that
an image can be edited further. An expired link is plain text.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

import msgspec

from protocol.http.concurrency import values
from protocol.http.context import RequestContext
from protocol.model import BadRequest, FilePart, MediaKind, MediaPart, MediaRef
from protocol.openai import files
from protocol.openai.chat import wire

Attached = FilePart | MediaPart

_LINK = re.compile(r"\]\(<?(https?://[^\s()<>]{1,10000})")
_AUDIO = {"wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg", "flac": "audio/flac", "m4a": "audio/mp4"}


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message has a file; equal sources are read once."""

    form: Literal["image", "file", "audio"]
    text: str
    """A URL or base64."""
    name: str = ""
    declared: str | None = None


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not read yet."""

    at: str
    """The path of its content part or entry of `images`."""
    param: str
    """The path of its URL or base64."""
    source: Source
    message: int = 0
    """The index of its message."""


def attachments(messages: Sequence[wire.Message]) -> list[Attachment]:
    """Return all files of the messages in order, without links in texts.

    Raises:
        BadRequest: a file is in a message of another role, or is sent by its id.

    """
    return [
        msgspec.structs.replace(found, message=index)
        for index, message in enumerate(messages)
        for found in _of(message, f"messages[{index}]")
    ]


def _of(message: wire.Message, where: str) -> Iterator[Attachment]:
    yield from _parts(message, where)
    for index, image in enumerate(message.images or () if isinstance(message, wire.AssistantMessage) else ()):
        if _is_data(url := image.image_url.url):
            at = f"{where}.images[{index}]"
            yield Attachment(at=at, param=f"{at}.image_url.url", source=Source(form="image", text=url))


def _parts(message: wire.Message, where: str) -> Iterator[Attachment]:
    for index, part in enumerate(message.content if isinstance(message.content, list) else ()):
        at = f"{where}.content[{index}]"
        if isinstance(part, wire.ContentText | wire.ContentRefusal):
            continue
        if not isinstance(message, wire.UserMessage | wire.AssistantMessage):
            kind = type(part).__struct_config__.tag
            text = f"A content part of type '{kind}' is allowed in user messages only (at '{at}')."
            raise BadRequest(text, param=at, code="unsupported_content_part")
        yield _attachment(part, at)


def _attachment(part: wire.ContentImage | wire.ContentAudio | wire.ContentFile, at: str) -> Attachment:
    match part:
        case wire.ContentImage(image_url=image):
            return Attachment(at=at, param=f"{at}.image_url.url", source=Source(form="image", text=image.url))
        case wire.ContentAudio(input_audio=audio):
            source = Source(form="audio", text=audio.data, declared=_AUDIO[audio.format])
            return Attachment(at=at, param=f"{at}.input_audio.data", source=source)
        case wire.ContentFile(file=file):
            if file.file_id is not None:
                text = f"This gateway does not store files by id: send 'file_data' (at '{at}.file.file_id')."
                raise BadRequest(text, param=f"{at}.file.file_id", code="unsupported_parameter")
            if file.file_data is None:
                raise BadRequest(f"'file_data' is missing (at '{at}.file').", param=f"{at}.file.file_data")
            source = Source(form="file", text=file.file_data, name=file.filename or "")
            return Attachment(at=at, param=f"{at}.file.file_data", source=source)


async def take_all(found: Sequence[Attachment], context: RequestContext) -> dict[str, Attached]:
    """Read all files concurrently; return them by their paths.

    Raises:
        GatewayError: the error of the first file that fails, in their order.

    """
    firsts: dict[Source, Attachment] = {}
    for one in found:
        firsts.setdefault(one.source, one)
    taken = await values([partial(_take, one, context) for one in firsts.values()])
    parts = dict(zip(firsts, taken, strict=True))
    return {one.at: parts[one.source] for one in found}


async def _take(one: Attachment, context: RequestContext) -> Attached:
    source, param = one.source, one.param
    match source.form:
        case "image":
            part = await files.from_url(source.text, name=source.name, param=param, context=context)
            return files.require(part, MediaKind.IMAGE, param)
        case "audio":
            sound = await files.from_base64(
                source.text, name=source.name, param=param, declared=source.declared, context=context
            )
            return files.require(sound, MediaKind.AUDIO, param)
        case "file":
            if _is_data(source.text):
                return await files.from_data_url(source.text, name=source.name, param=param, context=context)
            return await files.from_base64(source.text, name=source.name, param=param, context=context)


def shown(messages: Sequence[wire.Message], context: RequestContext) -> dict[int, tuple[MediaPart, ...]]:
    """Return the media that earlier answers linked, by message: each once, in its last message, newest first."""
    seen: set[MediaRef] = set()
    by_message: dict[int, tuple[MediaPart, ...]] = {}
    for index in reversed(range(len(messages))):
        message = messages[index]
        if isinstance(message, wire.AssistantMessage):
            refs = dict.fromkeys(ref for ref in _refs(message, context) if ref not in seen)
            kept = list(refs)[: max(0, context.limits.files - len(seen))]
            seen.update(kept)
            by_message[index] = tuple(MediaPart(ref=ref) for ref in kept)
    return by_message


def _refs(message: wire.AssistantMessage, context: RequestContext) -> Iterator[MediaRef]:
    caller = context.caller
    for url in (*_links(message.content), *(image.image_url.url for image in message.images or ())):
        ref = context.links.open(url, caller) if caller is not None and not _is_data(url) else None
        if ref is not None:
            yield ref


def _links(content: wire.Content | None) -> Iterator[str]:
    """Yield the URLs of the Markdown links and images in a message."""
    texts = (
        [content] if isinstance(content, str) else [p.text for p in content or () if isinstance(p, wire.ContentText)]
    )
    for text in texts:
        yield from _LINK.findall(text)


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"
