"""Converts a chat request to a `GenerationRequest`; refuses unsupported fields that would change the answer."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, assert_never

import msgspec

from protocol.http import files
from protocol.http.context import RequestContext, caller_of
from protocol.http.data_urls import is_data_url
from protocol.http.parallel import gather
from protocol.model import (
    BadRequest,
    Capability,
    Catalogue,
    FilePart,
    GenerationRequest,
    MediaKind,
    MediaPart,
    MediaRef,
    Part,
    Role,
    Selection,
    TextPart,
    Turn,
    Unsupported,
    arranged,
)
from protocol.model import ToolCall as Call
from protocol.openai.chat import wire
from protocol.openai.chat.read_tools import json_output, tool_choice
from protocol.openai.chat.stop import Bounds
from protocol.openai.picture_parameters import PictureParameters, read_picture_parameters, refuse_for_films

Attached = FilePart | MediaPart

_LINK = re.compile(r"\]\(<?(https?://[^\s()<>]{1,10000})")


_KINDS = {"image": MediaKind.IMAGE, "audio": MediaKind.AUDIO, "file": None}
"""The kind of file that each content part has."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message has a file; equal sources are read once."""

    form: Literal["image", "file", "audio"]
    text: str
    """A URL or base64."""
    name: str = ""


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
    found: list[Attachment] = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        for index, part in enumerate(message.content if isinstance(message.content, list) else ()):
            if isinstance(part, wire.ContentText | wire.ContentRefusal):
                continue
            at = f"{where}.content[{index}]"
            if not isinstance(message, wire.UserMessage | wire.AssistantMessage):
                kind = type(part).__struct_config__.tag
                text = f"A content part of type '{kind}' is allowed in user messages only (at '{at}')."
                raise BadRequest(text, param=at, code="unsupported_content_part")
            found.append(msgspec.structs.replace(_attachment(part, at), message=number))
        for index, image in enumerate(message.images or () if isinstance(message, wire.AssistantMessage) else ()):
            if is_data_url(url := image.url):
                at = f"{where}.images[{index}]"
                source = Source(form="image", text=url)
                found.append(Attachment(at=at, param=f"{at}.{image.path}", source=source, message=number))
    return found


def _attachment(part: wire.ContentImage | wire.ContentAudio | wire.ContentFile, at: str) -> Attachment:
    match part:
        case wire.ContentImage():
            return Attachment(at=at, param=f"{at}.{part.path}", source=Source(form="image", text=part.url))
        case wire.ContentAudio(input_audio=audio):
            source = Source(form="audio", text=audio.data)
            return Attachment(at=at, param=f"{at}.input_audio.data", source=source)
        case wire.ContentFile(file=file):
            if file.file_id:
                text = f"This gateway does not store files by id: send 'file_data' (at '{at}.file.file_id')."
                raise BadRequest(text, param=f"{at}.file.file_id", code="unsupported_parameter")
            if not file.file_data:
                raise BadRequest(f"'file_data' is missing (at '{at}.file').", param=f"{at}.file.file_data")
            source = Source(form="file", text=file.file_data, name=file.filename or "")
            return Attachment(at=at, param=f"{at}.file.file_data", source=source)


async def take_all(found: Sequence[Attachment], context: RequestContext) -> dict[str, Attached]:
    """Read all files concurrently; return them by their paths.

    Raises:
        GatewayError: the error of the first file that fails, in their order.

    """
    if not found:
        return {}
    firsts: dict[Source, Attachment] = {}
    for one in found:
        firsts.setdefault(one.source, one)
    taken = await gather([partial(_take, one, context) for one in firsts.values()])
    parts = dict(zip(firsts, taken, strict=True))
    return {one.at: parts[one.source] for one in found}


async def _take(one: Attachment, context: RequestContext) -> Attached:
    source = one.source
    field = files.FileField(param=one.param, kind=_KINDS[source.form], name=source.name)
    if source.form == "image":
        return await files.from_url(source.text, field, context)
    return await files.from_text(source.text, field, context)


def shown(messages: Sequence[wire.Message], context: RequestContext) -> dict[int, tuple[MediaPart, ...]]:
    """Return the media that earlier answers linked, by message: each once, in its last message, newest first."""
    caller = context.caller
    if caller is None:
        return {}
    seen: set[MediaRef] = set()
    by_message: dict[int, tuple[MediaPart, ...]] = {}
    for index in reversed(range(len(messages))):
        message = messages[index]
        if isinstance(message, wire.AssistantMessage):
            content = message.content or ()
            texts = (
                [content] if isinstance(content, str) else [p.text for p in content if isinstance(p, wire.ContentText)]
            )
            urls: list[str] = [url for text in texts for url in _LINK.findall(text)]
            urls += [image.url for image in message.images or ()]
            opened = [context.links.open(url, caller) for url in urls if not is_data_url(url)]
            refs = dict.fromkeys(ref for ref in opened if ref is not None and ref not in seen)
            kept = list(refs)[: max(0, context.limits.files - len(seen))]
            seen.update(kept)
            by_message[index] = tuple(MediaPart(ref=ref) for ref in kept)
    return by_message


_NOT_YET = "is not supported by this gateway yet"
_TURNS_WITH_FILES = 10
"""How many turns of a conversation may have the highest number of files."""
_DRAWING = frozenset({Capability.IMAGEN, Capability.STORYBOOK})


def read_pictures(body: wire.ChatRequest, selection: Selection, context: RequestContext) -> PictureParameters:
    """Return the parameters of the pictures of a chat.

    Raises:
        BadRequest: one is invalid or not supported; `param` is its path.

    """
    pictures = read_picture_parameters(body, context.query, draws=selection.capability in _DRAWING)
    if pictures.n is not None and pictures.n > 1:
        where = pictures.paths["n"]
        message = f"'{where}' above 1 {_NOT_YET} in chat: use '/v1/images/generations'."
        raise BadRequest(message, param=where, code="unsupported_parameter")
    if selection.capability is Capability.VIDEO:
        refuse_for_films(pictures)
    return pictures


async def read(
    body: wire.ChatRequest,
    selection: Selection,
    catalogue: Catalogue,
    context: RequestContext,
    pictures: PictureParameters = PictureParameters(),  # noqa: B008 -- it is immutable
) -> GenerationRequest:
    """Convert a request to a selected model, and read its files; `pictures` are its parameters of pictures.

    Raises:
        BadRequest: a field is invalid or not supported; `param` is its path.

    """
    refuse_unsupported(body, selection)
    found = attachments(body.messages)
    if found and selection.model.guest:
        able = dict.fromkeys(
            s.model.id for s in catalogue.selections() if not s.model.guest and s.capability is Capability.CHAT
        )
        text = f"The model '{selection.id}' takes text only. Use one of: {', '.join(able)}."
        raise Unsupported(text, param=found[0].at, code="unsupported_content_part")
    answered = max((i for i, one in enumerate(body.messages) if isinstance(one, wire.AssistantMessage)), default=-1)
    new, most = [one for one in found if one.message > answered], context.limits.files
    for several, limit, what in ((new, most, "at once"), (found, most * _TURNS_WITH_FILES, "per conversation")):
        if len(several) > limit:
            raise BadRequest(f"Too many files: send at most {limit} {what}.", param=several[limit].at)
    links = {} if selection.model.guest else shown(body.messages, context)
    files = _ConversationFiles(taken=await take_all(found, context), shown=links)
    turns = arranged([_turn(message, index, files) for index, message in enumerate(body.messages)])
    if not any(turn.text or any(not isinstance(part, TextPart) for part in turn.parts) for turn in turns):
        raise BadRequest("'messages' has no text: send at least one message with text or a file.", param="messages")
    if pictures.sentences:
        last = max(index for index, turn in enumerate(turns) if turn.role is Role.USER or not index)
        asked = msgspec.structs.replace(turns[last], parts=(*turns[last].parts, *map(TextPart, pictures.sentences)))
        turns = (*turns[:last], asked, *turns[last + 1 :])
    chat = selection.capability is Capability.CHAT  # the others answer with what they make, and call nothing
    return GenerationRequest(
        id=context.id,
        caller=caller_of(context),
        selection=selection,
        turns=turns,
        streamed=bool(body.stream),
        tools=tool_choice(body) if chat else None,
        output=json_output(body.response_format) if chat else None,
        attempts_before=context.attempts_before,
        aspect=pictures.aspect,
    )


class _ConversationFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The files of the conversation."""

    taken: Mapping[str, Attached]
    """Sent files by path."""
    shown: Mapping[int, tuple[MediaPart, ...]]
    """Media of earlier answers, by the index of their message."""


def refuse_unsupported(body: wire.ChatRequest, selection: Selection) -> None:
    """Raise BadRequest for the first unsupported field that would change the answer."""
    ways = {"text", "image"} if selection.capability in _DRAWING else {"text"}
    requested = {
        "n": (body.n or 1) > 1,
        "logprobs": bool(body.logprobs),
        "top_logprobs": bool(body.top_logprobs),
        "logit_bias": bool(body.logit_bias),
        "modalities": bool(body.modalities) and not {"text"} <= set(body.modalities or ()) <= ways,
        "audio": bool(body.audio),
        "web_search_options": bool(body.web_search_options),
    }
    for field, is_set in requested.items():
        if is_set:
            raise BadRequest(f"'{field}' {_NOT_YET}.", param=field, code="unsupported_parameter")


def _turn(message: wire.Message, index: int, files: _ConversationFiles) -> Turn:
    parts = _parts(message.content, f"messages[{index}]", files.taken)
    match message:
        case wire.SystemMessage():
            return Turn(role=Role.SYSTEM, parts=parts, name=message.name)
        case wire.DeveloperMessage():
            return Turn(role=Role.DEVELOPER, parts=parts, name=message.name)
        case wire.UserMessage():
            return Turn(role=Role.USER, parts=parts, name=message.name)
        case wire.AssistantMessage():
            return _assistant(message, index, parts, files)
        case wire.ToolMessage():
            return Turn(role=Role.TOOL, parts=parts, tool_call_id=message.tool_call_id)
        case wire.FunctionMessage():
            return Turn(role=Role.TOOL, parts=parts, name=message.name)
        case _:
            assert_never(message)


def _assistant(message: wire.AssistantMessage, index: int, parts: tuple[Part, ...], files: _ConversationFiles) -> Turn:
    if message.refusal:
        parts = (*parts, TextPart(text=message.refusal))
    entries = (f"messages[{index}].images[{number}]" for number in range(len(message.images or ())))
    media = (files.taken[entry] for entry in entries if entry in files.taken)
    calls = [
        Call(id=call.id, name=call.function.name, arguments=call.function.arguments)
        for call in message.tool_calls or ()
    ]
    if message.function_call is not None:
        calls.append(Call(id="", name=message.function_call.name, arguments=message.function_call.arguments))
    return Turn(
        role=Role.ASSISTANT,
        parts=(*parts, *media, *files.shown.get(index, ())),
        name=message.name,
        tool_calls=tuple(calls),
    )


def _parts(content: wire.Content | None, where: str, taken: Mapping[str, Attached]) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(text=content),)
    parts: list[Part] = []
    for index, part in enumerate(content):
        match part:
            case wire.ContentText():
                parts.append(TextPart(text=part.text))
            case wire.ContentRefusal():
                parts.append(TextPart(text=part.refusal))
            case wire.ContentImage() | wire.ContentAudio() | wire.ContentFile():
                parts.append(taken[f"{where}.content[{index}]"])
            case _:
                assert_never(part)
    return tuple(parts)


def bounds(body: wire.ChatRequest) -> Bounds:
    """Return the stop sequences and the token limit of a request; an empty sequence counts as none."""
    stops = (body.stop,) if isinstance(body.stop, str) else body.stop or ()
    limits = [tokens for tokens in (body.max_tokens, body.max_completion_tokens) if tokens is not None]
    return Bounds(stops=tuple(filter(None, stops)), tokens=min(limits, default=None))
