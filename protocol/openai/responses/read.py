"""Converts a request to the Responses API to a `GenerationRequest`; refuses fields that would change the answer."""

import secrets
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from protocol.http.context import RequestContext, caller_of
from protocol.http.conversation import Attachment, Message, Source
from protocol.http.ignored import IgnoredFields
from protocol.http.option_fields import bounded_options, effort_of, with_sampling
from protocol.http.picture_parameters import PictureParameters
from protocol.http.stop import Bounds
from protocol.model import (
    LOGPROBS,
    AnswerOptions,
    BadRequest,
    Capability,
    GenerationRequest,
    Role,
    Selection,
    TextPart,
    ToolCall,
    Turn,
)
from protocol.openai.reasoning_effort import has_effect
from protocol.openai.responses import wire
from protocol.openai.responses.function_names import FunctionNames
from protocol.openai.responses.offered_tools import (
    OfferedTools,
    ignored_options,
    json_output,
    shown_choice,
    shown_text,
    shown_tool,
)
from protocol.openai.responses.output_wire import ModelResponse

_ROLES = {"user": Role.USER, "system": Role.SYSTEM, "developer": Role.DEVELOPER, "assistant": Role.ASSISTANT}
_IGNORED = frozenset({"reasoning", "web_search_call", "compaction"})
"""Items that the site does not need back."""
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_USUAL_VERBOSITY = (None, "", "medium")
_LOGPROBS = "message.output_text.logprobs"
"""The value of `include` that asks for what no answer has; the others add to what other tools return."""
_SUMMARIES = ("auto", "concise", "detailed")
_THOUGHTS = frozenset({"reasoning", "reasoning_content", "reasoning_text", "redacted_thinking", "think", "thinking"})
"""Parts of earlier answers that the model does not get."""


IGNORED = IgnoredFields(
    {
        "context_management": (),
        "max_tool_calls": (),
        "moderation": (),
        "temperature": (1,),
        "top_logprobs": (0,),
        "top_p": (1,),
    }
)
"""Fields that have no effect with the website, which has no such options."""


class PlacedItem(NamedTuple):
    """An item of the conversation, and its path in the request, which is unique."""

    item: wire.InputItem
    at: str


def items_of(body: wire.ResponseRequest) -> list[wire.InputItem]:
    """Return the input of a request as items."""
    if isinstance(body.input, str):
        return [wire.InputItem(role="user", content=body.input)]
    return body.input or []


def refuse_unsupported(body: wire.ResponseRequest) -> None:
    """Raise BadRequest for the first field that is not supported."""
    for field, instead in (("conversation", "'previous_response_id'"), ("prompt", "'instructions' and 'input'")):
        if getattr(body, field):
            text = f"'{field}' is not supported by this gateway: use {instead}."
            raise BadRequest(text, param=field, code="unsupported_parameter")
    if body.background and body.store is False:
        raise BadRequest("'background' requires 'store': a background response is fetched by its id.", param="store")


def messages_of(placed: Iterable[PlacedItem], instructions: str | None, names: FunctionNames) -> list[Message]:
    """Return the messages of a conversation; items of one answer, such as words and calls, are one message.

    `names` are those of the functions of the request.

    Raises:
        BadRequest: an item or a part is not supported, or lacks a field.

    """
    messages: list[Message] = []
    for item, at in placed:
        if item.type in _IGNORED:
            continue
        message = _message(item, at, names)
        last = messages[-1] if messages else None
        if last is None or not last.role == message.role == Role.ASSISTANT:
            messages.append(message)
            continue
        messages[-1] = msgspec.structs.replace(
            last,
            parts=(*last.parts, *message.parts),
            tool_calls=(*last.tool_calls, *message.tool_calls),
            urls=(*last.urls, *message.urls),
        )
    if not any(message.parts for message in messages):
        raise BadRequest("The request has no text: send an 'input' with text or a file.", param="input")
    return messages if not instructions else [Message(role=Role.SYSTEM, parts=(instructions,)), *messages]


def _message(item: wire.InputItem, at: str, names: FunctionNames) -> Message:
    match item.type:
        case "message":
            role = _ROLES.get(item.role or "user")
            if role is None:
                raise BadRequest(f"'{at}.role' must be one of: {', '.join(_ROLES)}.", param=f"{at}.role")
            return Message(role=role, parts=_parts(item.content, f"{at}.content"))
        case "function_call" | "custom_tool_call":  # custom ones are of histories with other models
            if item.name is None:
                raise BadRequest(f"'name' is missing (at '{at}').", param=f"{at}.name")
            name = names.flat(item.name, item.namespace)
            call = ToolCall(id=item.call_id or "", name=name, arguments=item.json_arguments)
            return Message(role=Role.ASSISTANT, parts=(), tool_calls=(call,))
        case "function_call_output" | "custom_tool_call_output":
            parts = _parts(item.output, f"{at}.output")
            return Message(role=Role.TOOL, parts=parts or ("",), tool_call_id=item.call_id)
        case "image_generation_call":
            if item.url or not item.result:
                return Message(role=Role.ASSISTANT, parts=(), urls=(item.url,) if item.url else ())
            picture = Attachment(at=at, param=f"{at}.result", source=Source(form="file", text=item.result))
            return Message(role=Role.ASSISTANT, parts=(picture,))
        case _:
            text = f"Items of the type '{item.type}' are not supported (at '{at}.type')."
            raise BadRequest(text, param=f"{at}.type", code="unsupported_item")


def _parts(content: wire.InputContent | None, where: str) -> tuple[str | Attachment, ...]:
    if content is None or isinstance(content, str):
        return (content,) if content else ()
    parts: list[str | Attachment] = []
    kept = [(f"{where}[{index}]", part) for index, part in enumerate(content) if part.type not in _THOUGHTS]
    for at, part in kept:
        match part.type:
            case "input_text" | "output_text" | "text" | "summary_text":
                parts.append(part.text or "")
            case "refusal":
                parts.append(part.refusal or "")
            case "input_image" | "image_url":
                parts.append(_image(part, at))
            case "input_file":
                parts.append(_file(part, at))
            case "input_audio" if part.input_audio is not None:
                source = Source(form="audio", text=part.input_audio.data)
                parts.append(Attachment(at=at, param=f"{at}.input_audio.data", source=source))
            case _:
                text = f"A content part of type '{part.type}' is not supported (at '{at}')."
                raise BadRequest(text, param=at, code="unsupported_content_part")
    return tuple(parts)


def _image(part: wire.InputPart, at: str) -> Attachment:
    url = part.image_url
    if url is None:
        if part.file_id:
            return Attachment(at=at, param=f"{at}.file_id", source=Source(form="image_id", text=part.file_id))
        raise BadRequest(f"'image_url' or 'file_id' is missing (at '{at}').", param=f"{at}.image_url")
    source = Source(form="image", text=url if isinstance(url, str) else url.url)
    return Attachment(at=at, param=f"{at}.image_url", source=source)


def _file(part: wire.InputPart, at: str) -> Attachment:
    if part.file_data:
        source = Source(form="file", text=part.file_data, name=part.filename or "")
        return Attachment(at=at, param=f"{at}.file_data", source=source)
    if part.file_url:
        return Attachment(at=at, param=f"{at}.file_url", source=Source(form="link", text=part.file_url))
    if part.file_id:
        source = Source(form="file_id", text=part.file_id, name=part.filename or "")
        return Attachment(at=at, param=f"{at}.file_id", source=source)
    raise BadRequest(f"'file_data', 'file_url' or 'file_id' is missing (at '{at}').", param=f"{at}.file_data")


def read(
    body: wire.ResponseRequest,
    turns: tuple[Turn, ...],
    tools: OfferedTools,
    selection: Selection,
    context: RequestContext,
) -> GenerationRequest:
    """Convert a request with its conversation to a selected model.

    Raises:
        BadRequest: the format of the text is not valid.

    """
    pictures = tools.pictures or PictureParameters()
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
        streamed=bool(body.stream) and not body.background,
        tools=tools.functions if chat else None,
        output=json_output(body.text) if chat else None,
        attempts_before=context.attempts_before,
        aspect=pictures.aspect,
        pixels=pictures.image_format.pixels,
    )


def new_response(body: wire.ResponseRequest, selection: Selection, context: RequestContext) -> ModelResponse:
    """Return a response that has no output yet, with what it repeats of its request."""
    reasoning = body.reasoning or wire.ReasoningOptions()
    return ModelResponse(
        id=f"resp_{int(context.created * 1000):012x}{secrets.token_hex(18)}",  # the store sorts responses by ids
        created_at=int(context.created),
        status="queued" if body.background else "in_progress",
        background=bool(body.background),
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        metadata=body.metadata or {},
        model=selection.id,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id or None,
        reasoning={"effort": _one_of(_EFFORTS, reasoning.effort), "summary": _one_of(_SUMMARIES, reasoning.summary)},
        store=body.store is not False,
        temperature=_number(body.temperature, 2.0),
        text=shown_text(body.text),
        tool_choice=shown_choice(body.tool_choice),
        tools=[shown_tool(tool) for tool in body.tools or ()],
        top_p=_number(body.top_p, 1.0),
        truncation=_one_of(("auto",), body.truncation) or "disabled",
    )


def _number(value: object, most: float) -> float:
    """Return a number from 0 to `most` that a response repeats of its request, or else the usual 1."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most else 1.0


def _one_of(known: Collection[str], value: str | None) -> str | None:
    """Return a value without effect that a response repeats of its request, unless OpenAI does not have it."""
    return value if value in known else None


def read_options(
    body: wire.ResponseRequest, tools: OfferedTools, selection: Selection, applied: frozenset[str]
) -> AnswerOptions:
    """Return the options of a request; `applied` are those that some upstream of the model applies.

    Raises:
        BadRequest: a field that is applied has a wrong value; `param` is its path.

    """
    options = with_sampling(bounded_options(Bounds(tokens=body.max_output_tokens)), body, applied)
    effort = effort_of(body.reasoning.effort if body.reasoning is not None else None, selection, applied)
    return msgspec.structs.replace(options, effort=effort, search=tools.searches, run_code=tools.runs_code)


def ignored_fields(body: wire.ResponseRequest, selection: Selection, applied: frozenset[str]) -> list[str]:
    """Return the fields that would change the answer, and have no effect with the selected model.

    `applied` are the options that the upstream of the model applies.
    """
    fields = [*IGNORED.sent(body, applied - LOGPROBS), *ignored_options(body)]
    if body.reasoning is not None and not has_effect(selection, body.reasoning.effort, applied):
        fields.append("reasoning.effort")
    if body.text is not None and body.text.verbosity not in _USUAL_VERBOSITY:
        fields.append("text.verbosity")
    if _LOGPROBS in (body.include or ()):
        fields.append("include")
    if selection.capability is not Capability.CHAT:
        functions = any(tool.type == "function" for tool in body.tools or ())
        structured = body.text is not None and body.text.format is not None and body.text.format.type != "text"
        fields += ["tools"] * functions + ["text.format"] * structured
    return fields
