"""Converts a chat request to a `GenerationRequest`; refuses unsupported fields that would change the answer."""

from typing import assert_never

import msgspec

from protocol.http.context import RequestContext, caller_of
from protocol.http.conversation import Attachment, Message, Source, read_turns
from protocol.http.data_urls import is_data_url
from protocol.http.ignored import IgnoredFields
from protocol.http.option_fields import bounded_options, effort_of, with_logprobs, with_sampling
from protocol.http.picture_parameters import PictureParameters, read_picture_parameters, refuse_for_films
from protocol.http.stop import Bounds
from protocol.model import (
    AnswerOptions,
    BadRequest,
    Caller,
    Capability,
    Catalogue,
    Effort,
    GenerationRequest,
    Role,
    Selection,
    TextPart,
    ToolCall,
)
from protocol.openai.chat import wire
from protocol.openai.chat.read_tools import json_output, tool_choice
from protocol.openai.reasoning_effort import has_effect, with_effort


def messages_of(body: wire.ChatRequest) -> list[Message]:
    """Return the messages of a request.

    Raises:
        BadRequest: a file is in a system or developer message, or is sent by its id.

    """
    return [_message(message, f"messages[{index}]") for index, message in enumerate(body.messages)]


def _message(message: wire.Message, at: str) -> Message:
    takes_files = not isinstance(message, wire.SystemMessage | wire.DeveloperMessage)
    parts = _parts(message.content, f"{at}.content", takes_files=takes_files)
    match message:
        case wire.SystemMessage():
            return Message(role=Role.SYSTEM, parts=parts, name=message.name)
        case wire.DeveloperMessage():
            return Message(role=Role.DEVELOPER, parts=parts, name=message.name)
        case wire.UserMessage():
            return Message(role=Role.USER, parts=parts, name=message.name)
        case wire.AssistantMessage():
            return _assistant(message, parts, at)
        case wire.ToolMessage():
            return Message(role=Role.TOOL, parts=parts, tool_call_id=message.tool_call_id)
        case wire.FunctionMessage():
            return Message(role=Role.TOOL, parts=parts, name=message.name)
        case _:
            assert_never(message)


def _assistant(message: wire.AssistantMessage, parts: tuple[str | Attachment, ...], at: str) -> Message:
    images = message.images or ()
    entries = [
        Attachment(
            at=f"{at}.images[{number}]",
            param=f"{at}.images[{number}].{image.path}",
            source=Source(form="image", text=image.url),
        )
        for number, image in enumerate(images)
        if is_data_url(image.url)
    ]
    calls = [
        ToolCall(
            id=call.id,
            name=call.function.name,
            arguments=call.function.json_arguments,
            signature=wire.thought_signature(call.extra_content),
        )
        for call in message.tool_calls or ()
    ]
    if message.function_call is not None:
        calls.append(ToolCall(id="", name=message.function_call.name, arguments=message.function_call.json_arguments))
    return Message(
        role=Role.ASSISTANT,
        parts=(*parts, *((message.refusal,) if message.refusal else ()), *entries),
        name=message.name,
        tool_calls=tuple(calls),
        urls=tuple(image.url for image in images),
        signature=wire.thought_signature(message.extra_content),
    )


def _parts(content: wire.Content | None, where: str, *, takes_files: bool) -> tuple[str | Attachment, ...]:
    if content is None or isinstance(content, str):
        return () if content is None else (content,)
    parts: list[str | Attachment] = []
    for index, part in enumerate(content):
        at = f"{where}[{index}]"
        if isinstance(part, wire.Thoughts):
            continue
        if isinstance(part, wire.Files) and not takes_files:
            kind = type(part).__struct_config__.tag
            text = f"A content part of type '{kind}' belongs in a user message (at '{at}')."
            raise BadRequest(text, param=at, code="unsupported_content_part")
        match part:
            case wire.ContentText():
                parts.append(part.text)
            case wire.ContentRefusal():
                parts.append(part.refusal)
            case _:
                parts.append(_attachment(part, at))
    return tuple(parts)


def _attachment(part: wire.Files, at: str) -> Attachment:
    match part:
        case wire.ShownImage():
            return Attachment(at=at, param=f"{at}.{part.path}", source=Source(form="image", text=part.url))
        case wire.ContentVideo():
            return Attachment(at=at, param=f"{at}.video_url", source=Source(form="link", text=part.url))
        case wire.ContentAudio(input_audio=audio):
            source = Source(form="audio", text=audio.data)
            return Attachment(at=at, param=f"{at}.input_audio.data", source=source)
        case wire.ContentFile():
            return _file(part.file, at, f"{at}.file")
        case wire.ContentInputFile():
            return _file(part, at, at)


def _file(file: wire.InputFile, at: str, where: str) -> Attachment:
    if file.file_id:
        source = Source(form="file_id", text=file.file_id, name=file.filename or "")
        return Attachment(at=at, param=f"{where}.file_id", source=source)
    if not file.file_data:
        raise BadRequest(f"'file_data' or 'file_id' is missing (at '{where}').", param=f"{where}.file_data")
    source = Source(form="file", text=file.file_data, name=file.filename or "")
    return Attachment(at=at, param=f"{where}.file_data", source=source)


IGNORED = IgnoredFields(
    {
        "frequency_penalty": (0,),
        "logit_bias": (),
        "logprobs": (),
        "min_p": (0,),
        "moderation": (),
        "presence_penalty": (0,),
        "repetition_penalty": (1,),
        "seed": (),
        "temperature": (1,),
        "top_k": (0, -1),
        "top_logprobs": (0,),
        "top_p": (1,),
        "verbosity": ("medium",),
        "web_search_options": (),
    }
)
"""Fields that have no effect with the website: it has no such options, and decides itself when to search the web."""
_CALLING = ("tools", "functions", "response_format")
"""Fields that have an effect in plain chat only: other models answer with what they make, and call nothing."""


def select(body: wire.ChatRequest, catalogue: Catalogue, caller: Caller) -> Selection:
    """Return the model of a request: with a high effort its extended form, if there is one and the license covers it.

    Raises:
        ModelUnknown: the model does not exist.

    """
    return with_effort(catalogue.resolve(body.model), body.reasoning_effort, caller)


def ignored_fields(body: wire.ChatRequest, selection: Selection, applied: frozenset[str] = frozenset()) -> list[str]:
    """Return the fields that would change the answer, and have no effect with the model that `select` returned.

    `applied` are the options that the upstream of the model applies.
    """
    fields = IGNORED.sent(body, applied)
    if "search" in applied and "web_search_options" in fields:
        fields.remove("web_search_options")
    if not has_effect(selection, body.reasoning_effort, applied):
        fields.append("reasoning_effort")
    if selection.capability is not Capability.CHAT:
        fields += [name for name in _CALLING if getattr(body, name)]
    return fields


_DRAWING = frozenset({Capability.IMAGEN, Capability.STORYBOOK})


def read_pictures(body: wire.ChatRequest, selection: Selection, context: RequestContext) -> PictureParameters:
    """Return the parameters of the pictures of a chat.

    Raises:
        BadRequest: one is invalid or not supported; `param` is its path.

    """
    pictures = read_picture_parameters(body, context.query, draws=selection.capability in _DRAWING)
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
    refuse_sound(body)
    turns = await read_turns(messages_of(body), selection, catalogue, context)
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
        pixels=pictures.image_format.pixels,
    )


def choices(body: wire.ChatRequest, selection: Selection, pictures: PictureParameters) -> int:
    """Return the number of choices of the answer.

    Raises:
        BadRequest: it is sent twice, too high, or more than one although the work takes minutes.

    """
    where, n = ("n", body.n) if body.n is not None else (pictures.paths.get("n", "n"), pictures.n)
    if pictures.n is not None and pictures.n != n:
        raise BadRequest(f"'n' and '{pictures.paths['n']}' contradict each other: send one of them.", param=where)
    n = n or 1
    if n > wire.MOST_CHOICES:
        raise BadRequest(f"'{where}' must be a number from 1 to {wire.MOST_CHOICES}.", param=where)
    if n > 1 and selection.capability.long_running:
        message = f"'{where}' above 1 is not supported for '{selection.id}': send one request for each answer."
        raise BadRequest(message, param=where, code="unsupported_parameter")
    return n


def refuse_sound(body: wire.ChatRequest) -> None:
    """Raise BadRequest if the answer must be spoken, or in a form that does not exist."""
    unknown = {name.lower() for name in body.modalities or ()} - {"text", "image"}
    field = "modalities" if unknown else "audio" if body.audio else None
    if field is not None:
        message = (
            f"'{field}' asks for sound, and chat models answer in text and images: leave it out, and send the answer "
            "to '/v1/audio/speech'."
        )
        raise BadRequest(message, param=field, code="unsupported_parameter")


def read_options(
    body: wire.ChatRequest, bounds: Bounds, selection: Selection, applied: frozenset[str]
) -> AnswerOptions:
    """Return the options of a request; `applied` are those that some upstream of the model applies.

    Raises:
        BadRequest: a field that is applied has a wrong value; `param` is its path.

    """
    options = with_sampling(bounded_options(bounds), body, applied) if applied else bounded_options(bounds)
    weighed = (body.logprobs, body.top_logprobs)
    if any(weighed):
        options = with_logprobs(options, weighed, applied, ("logprobs", "top_logprobs"))
    effort: Effort = effort_of(body.reasoning_effort, selection, applied) if body.reasoning_effort else ""
    search = body.web_search_options is not None
    return msgspec.structs.replace(options, effort=effort, search=search) if effort or search else options


def bounds(body: wire.ChatRequest) -> Bounds:
    """Return the stop sequences and the token limit of a request; an empty sequence counts as none."""
    stops = (body.stop,) if isinstance(body.stop, str) else body.stop or ()
    limits = [tokens for tokens in (body.max_tokens, body.max_completion_tokens) if tokens is not None]
    return Bounds(stops=tuple(filter(None, stops)), tokens=min(limits, default=None))
