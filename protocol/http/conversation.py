"""Builds the turns of a request from the messages of any dialect, and reads their files.

A dialect translates its messages to `Message`, whose parts are texts and files that are not read yet (`Attachment`).
What all dialects have in common happens here: limits on the number of files, files that are sent twice, links to media
of earlier answers, and the order of tool results.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Literal

import msgspec

from protocol.http import files
from protocol.http.context import RequestContext
from protocol.http.data_urls import is_data_url
from protocol.http.parallel import gather
from protocol.model import (
    BadRequest,
    Capability,
    Catalogue,
    FilePart,
    FileView,
    MediaKind,
    MediaPart,
    MediaRef,
    Role,
    Selection,
    TextPart,
    ToolCall,
    Turn,
    Unsupported,
    arranged,
)

_LINK = re.compile(r"\]\(<?(https?://[^\s()<>]{1,10000})")
_KINDS = {
    "image": MediaKind.IMAGE,
    "image_data": MediaKind.IMAGE,
    "image_id": MediaKind.IMAGE,
    "audio": MediaKind.AUDIO,
    "file": None,
    "file_id": None,
    "link": None,
}
"""The kind of file that each form of attachment has."""
_TURNS_WITH_FILES = 10
"""How many turns of a conversation may have the highest number of files."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message has a file; equal sources are read once."""

    form: Literal["image", "image_data", "image_id", "file", "file_id", "audio", "link"]
    text: str
    """A URL for an image and a link to any file, the id of an uploaded file, or else base64 or a data URL."""
    name: str = ""


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not read yet."""

    at: str
    """The path of its part in the request."""
    param: str
    """The path of its URL or base64."""
    source: Source
    view: FileView | None = None
    """How it is read; None: as usual."""

    async def read(self, context: RequestContext) -> FilePart | MediaPart:
        """Read the file.

        Raises:
            BadRequest: as `files.from_url`, `files.from_text`.
            HttpError: the file is too large (413), or no file has its id (404).

        """
        source = self.source
        field = files.FileField(param=self.param, kind=_KINDS[source.form], name=source.name)
        if source.form in {"image", "link"}:
            return await files.from_url(source.text, field, context)
        if source.form in {"image_id", "file_id"}:
            return await files.from_id(source.text, field, context)
        return await files.from_text(source.text, field, context)

    def seen(self, file: FilePart | MediaPart) -> FilePart | MediaPart:
        """Return its file with the way in which it is read."""
        if self.view is None or isinstance(file, MediaPart):
            return file
        return msgspec.structs.replace(file, view=self.view)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: Role
    parts: tuple[str | Attachment, ...]
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    signature: str = ""
    """The signature of the text, if the client carries it; opaque."""
    urls: tuple[str, ...] = ()
    """Addresses of media that the message shows in addition to its text; only an answer's count."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Its texts."""
        return tuple(part for part in self.parts if isinstance(part, str))


async def read_turns(
    messages: Sequence[Message], selection: Selection, catalogue: Catalogue, context: RequestContext
) -> tuple[Turn, ...]:
    """Return the turns of a conversation, with its files and the media that earlier answers linked.

    Raises:
        BadRequest: a file cannot be read, there are too many, or no message has any content.
        Unsupported: the model takes no files.
        HttpError: a file is too large (413).

    """
    _check_files(messages, selection, catalogue, context)
    found = [part for message in messages for part in message.parts if isinstance(part, Attachment)]
    taken = await take_all(found, context)
    linked = {} if selection.model.guest else _linked(messages, context)
    turns = [
        Turn(
            role=message.role,
            parts=(
                *(
                    TextPart(text=part) if isinstance(part, str) else part.seen(taken[part.at])
                    for part in message.parts
                ),
                *linked.get(index, ()),
            ),
            name=message.name,
            tool_calls=message.tool_calls,
            tool_call_id=message.tool_call_id,
            signature=message.signature,
        )
        for index, message in enumerate(messages)
    ]
    if not any(turn.text or any(not isinstance(part, TextPart) for part in turn.parts) for turn in turns):
        raise BadRequest("The request has no text: send at least one message with text or a file.", param="messages")
    return arranged(turns)


def _check_files(
    messages: Sequence[Message], selection: Selection, catalogue: Catalogue, context: RequestContext
) -> None:
    """Check the number of files, and that the model takes any."""
    placed = [
        (index, part)
        for index, message in enumerate(messages)
        for part in message.parts
        if isinstance(part, Attachment)
    ]
    if placed and selection.model.guest:
        able = dict.fromkeys(
            s.model.id for s in catalogue.selections() if not s.model.guest and s.capability is Capability.CHAT
        )
        text = f"The model '{selection.id}' takes text only. Use one of: {', '.join(able)}."
        raise Unsupported(text, param=placed[0][1].at, code="unsupported_content_part")
    answered = max((index for index, message in enumerate(messages) if message.role is Role.ASSISTANT), default=-1)
    found, most = [part for _, part in placed], context.limits.files
    new = [part for index, part in placed if index > answered]
    for several, limit, what in ((new, most, "at once"), (found, most * _TURNS_WITH_FILES, "per conversation")):
        if len(several) > limit:
            raise BadRequest(f"Too many files: send at most {limit} {what}.", param=several[limit].at)


async def take_all(found: Sequence[Attachment], context: RequestContext) -> dict[str, FilePart | MediaPart]:
    """Read all files concurrently; return them by their paths.

    Raises:
        GatewayError: the error of the first file that fails, in their order.

    """
    if not found:
        return {}
    firsts: dict[Source, Attachment] = {}
    for one in found:
        firsts.setdefault(one.source, one)
    taken = await gather([partial(one.read, context) for one in firsts.values()])
    parts = dict(zip(firsts, taken, strict=True))
    return {one.at: parts[one.source] for one in found}


def _linked(messages: Sequence[Message], context: RequestContext) -> dict[int, tuple[MediaPart, ...]]:
    """Return the media that earlier answers linked, by message: each once, in its last message, newest first."""
    caller = context.caller
    if caller is None:
        return {}
    seen: set[MediaRef] = set()
    by_message: dict[int, tuple[MediaPart, ...]] = {}
    for index in reversed(range(len(messages))):
        message = messages[index]
        if message.role is Role.ASSISTANT:
            urls: list[str] = [url for text in message.texts for url in _LINK.findall(text)]
            opened = [context.links.open(url, caller) for url in (*urls, *message.urls) if not is_data_url(url)]
            refs = dict.fromkeys(ref for ref in opened if ref is not None and ref not in seen)
            kept = list(refs)[: max(0, context.limits.files - len(seen))]
            seen.update(kept)
            by_message[index] = tuple(MediaPart(ref=ref) for ref in kept)
    return by_message
