"""Converts a chat request to a `GenerationRequest`; refuses unsupported fields that would change the answer."""

from collections.abc import Mapping, Sequence
from typing import assert_never

import msgspec

from protocol.http.context import RequestContext, caller_of
from protocol.model import (
    BadRequest,
    Capability,
    Catalogue,
    GenerationRequest,
    MediaPart,
    Part,
    Role,
    Selection,
    TextPart,
    Turn,
    Unsupported,
)
from protocol.model import ToolCall as Call
from protocol.openai.chat import wire
from protocol.openai.chat.attachments import Attached, Attachment, attachments, shown, take_all
from protocol.openai.chat.stop import Bounds

_NOT_YET = "is not supported by this gateway yet"
_TURNS_WITH_FILES = 10
"""How many turns of a conversation may have the highest number of files."""
_DRAWING = frozenset({Capability.IMAGEN, Capability.STORYBOOK})


async def read(
    body: wire.ChatRequest, selection: Selection, catalogue: Catalogue, context: RequestContext
) -> GenerationRequest:
    """Convert a request to a selected model, and read its files.

    Raises:
        BadRequest: a field is invalid or not supported; `param` is its path.

    """
    refuse_unsupported(body, selection)
    found = attachments(body.messages)
    _admit(found, selection, catalogue)
    _count(found, body.messages, context.limits.files)
    links = {} if selection.model.guest else shown(body.messages, context)
    files = _ConversationFiles(taken=await take_all(found, context), shown=links)
    turns = tuple(_turn(message, index, files) for index, message in enumerate(body.messages))
    if not any(turn.text or _has_files(turn) for turn in turns):
        raise BadRequest("'messages' has no text: send at least one message with text or a file.", param="messages")
    return GenerationRequest(
        id=context.id,
        caller=caller_of(context),
        selection=selection,
        turns=turns,
        streamed=bool(body.stream),
        attempts_before=context.attempts_before,
    )


class _ConversationFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The files of the conversation."""

    taken: Mapping[str, Attached]
    """Sent files by path."""
    shown: Mapping[int, tuple[MediaPart, ...]]
    """Media of earlier answers, by the index of their message."""


def _admit(found: Sequence[Attachment], selection: Selection, catalogue: Catalogue) -> None:
    """Raise BadRequest if there are files and the model takes none."""
    if found and selection.model.guest:
        able = dict.fromkeys(
            s.model.id for s in catalogue.selections() if not s.model.guest and s.capability is Capability.CHAT
        )
        text = f"The model '{selection.id}' takes text only. Use one of: {', '.join(able)}."
        raise Unsupported(text, param=found[0].at, code="unsupported_content_part")


def _count(found: Sequence[Attachment], messages: Sequence[wire.Message], most: int) -> None:
    """Raise BadRequest if there are too many files in the new messages or in the whole conversation."""
    answered = max((i for i, message in enumerate(messages) if isinstance(message, wire.AssistantMessage)), default=-1)
    fresh = [one for one in found if one.message > answered]
    for several, limit, what in ((fresh, most, "at once"), (found, most * _TURNS_WITH_FILES, "in one conversation")):
        if len(several) > limit:
            raise BadRequest(f"Too many files: send at most {limit} {what}.", param=several[limit].at)


def _has_files(turn: Turn) -> bool:
    return any(not isinstance(part, TextPart) for part in turn.parts)


def refuse_unsupported(body: wire.ChatRequest, selection: Selection) -> None:
    """Raise BadRequest for the first unsupported field that would change the answer."""
    ways = {"text", "image"} if selection.capability in _DRAWING else {"text"}
    asked = {
        "n": (body.n or 1) > 1,
        "tools": bool(body.tools),
        "tool_choice": body.tool_choice not in (None, "auto", "none"),
        "functions": bool(body.functions),
        "function_call": body.function_call not in (None, "auto", "none"),
        "response_format": body.response_format is not None and body.response_format.type != "text",
        "logprobs": bool(body.logprobs),
        "top_logprobs": bool(body.top_logprobs),
        "logit_bias": bool(body.logit_bias),
        "modalities": body.modalities is not None and not {"text"} <= set(body.modalities) <= ways,
        "audio": body.audio is not None,
        "web_search_options": body.web_search_options is not None,
    }
    for field, wanted in asked.items():
        if wanted:
            raise BadRequest(f"'{field}' {_NOT_YET}.", param=field, code="unsupported_parameter")
    if body.stream_options is not None and not body.stream:
        raise BadRequest("'stream_options' requires 'stream': true.", param="stream_options")


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
    given = (files.taken[entry] for entry in entries if entry in files.taken)
    calls = [
        Call(id=call.id, name=call.function.name, arguments=call.function.arguments)
        for call in message.tool_calls or ()
    ]
    if message.function_call is not None:
        calls.append(Call(id="", name=message.function_call.name, arguments=message.function_call.arguments))
    return Turn(
        role=Role.ASSISTANT,
        parts=(*parts, *given, *files.shown.get(index, ())),
        name=message.name,
        tool_calls=tuple(calls),
    )


def _parts(content: wire.Content | None, where: str, taken: Mapping[str, Attached]) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(text=content),)
    return tuple(_part(part, f"{where}.content[{index}]", taken) for index, part in enumerate(content))


def _part(part: wire.Part, where: str, taken: Mapping[str, Attached]) -> Part:
    match part:
        case wire.ContentText():
            return TextPart(text=part.text)
        case wire.ContentRefusal():
            return TextPart(text=part.refusal)
        case wire.ContentImage() | wire.ContentAudio() | wire.ContentFile():
            return taken[where]
        case _:
            assert_never(part)


def bounds(body: wire.ChatRequest) -> Bounds:
    """Return the stop sequences and the token limit of a request.

    Raises:
        BadRequest: a stop sequence is empty.

    """
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if "" in stops:
        raise BadRequest("A stop sequence in 'stop' is empty: remove it.", param="stop")
    limits = [tokens for tokens in (body.max_tokens, body.max_completion_tokens) if tokens is not None]
    return Bounds(stops=stops, tokens=min(limits, default=None))
