"""From OpenAI's request to ours; says no, with `param`, to what would change the answer and is not done yet."""

from typing import assert_never

from protocol.model import BadRequest, Caller, Catalogue, GenerationRequest, Role, TextPart, Turn
from protocol.model import ToolCall as Call
from protocol.openai.chat import wire
from protocol.openai.chat.stop import Bounds

_NOT_YET = "is not supported by this gateway yet"


def read(body: wire.ChatRequest, catalogue: Catalogue, caller: Caller, request_id: str) -> GenerationRequest:
    """Understand a request.

    Raises:
        BadRequest: something in it is wrong or not supported; `param` is its path.
        ModelUnknown: no model of that name.
        Forbidden: the license does not cover the model.

    """
    selection = catalogue.resolve(body.model)
    caller.permit(selection, body.model)
    refuse_unsupported(body)
    turns = tuple(_turn(message, index) for index, message in enumerate(body.messages))
    if not any(turn.text for turn in turns):
        raise BadRequest("There is no text in 'messages'.", param="messages")
    return GenerationRequest(id=request_id, caller=caller, selection=selection, turns=turns)


def refuse_unsupported(body: wire.ChatRequest) -> None:
    """Raise BadRequest for the first field that asks for what is not done yet."""
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
        "modalities": body.modalities is not None and set(body.modalities) != {"text"},
        "audio": body.audio is not None,
        "web_search_options": body.web_search_options is not None,
    }
    for field, wanted in asked.items():
        if wanted:
            raise BadRequest(f"'{field}' {_NOT_YET}.", param=field, code="unsupported_parameter")
    if body.stream_options is not None and not body.stream:
        raise BadRequest("'stream_options' goes with 'stream': true only.", param="stream_options")


def _turn(message: wire.Message, index: int) -> Turn:
    where = f"messages[{index}]"
    match message:
        case wire.SystemMessage():
            return Turn(role=Role.SYSTEM, parts=_parts(message.content, where), name=message.name)
        case wire.DeveloperMessage():
            return Turn(role=Role.DEVELOPER, parts=_parts(message.content, where), name=message.name)
        case wire.UserMessage():
            return Turn(role=Role.USER, parts=_parts(message.content, where), name=message.name)
        case wire.AssistantMessage():
            return _assistant(message, where)
        case wire.ToolMessage():
            return Turn(role=Role.TOOL, parts=_parts(message.content, where), tool_call_id=message.tool_call_id)
        case wire.FunctionMessage():
            return Turn(role=Role.TOOL, parts=_parts(message.content, where), name=message.name)
        case _:
            assert_never(message)


def _assistant(message: wire.AssistantMessage, where: str) -> Turn:
    parts = _parts(message.content, where)
    if message.refusal:
        parts = (*parts, TextPart(text=message.refusal))
    calls = [
        Call(id=call.id, name=call.function.name, arguments=call.function.arguments)
        for call in message.tool_calls or ()
    ]
    if message.function_call is not None:
        calls.append(Call(id="", name=message.function_call.name, arguments=message.function_call.arguments))
    return Turn(role=Role.ASSISTANT, parts=parts, name=message.name, tool_calls=tuple(calls))


def _parts(content: wire.Content | None, where: str) -> tuple[TextPart, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(text=content),)
    return tuple(_part(part, f"{where}.content[{index}]") for index, part in enumerate(content))


def _part(part: wire.Part, where: str) -> TextPart:
    match part:
        case wire.ContentText():
            return TextPart(text=part.text)
        case wire.ContentRefusal():
            return TextPart(text=part.refusal)
        case wire.ContentImage() | wire.ContentAudio() | wire.ContentFile():
            kind = type(part).__struct_config__.tag
            raise BadRequest(
                f"A content part of type '{kind}' {_NOT_YET} (at '{where}').",
                param=where,
                code="unsupported_content_part",
            )
        case _:
            assert_never(part)


def bounds(body: wire.ChatRequest) -> Bounds:
    """Return where the answer ends at the latest.

    Raises:
        BadRequest: a text that ends it is empty.

    """
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if "" in stops:
        raise BadRequest("A text in 'stop' is empty.", param="stop")
    limits = [tokens for tokens in (body.max_tokens, body.max_completion_tokens) if tokens is not None]
    return Bounds(stops=stops, tokens=min(limits, default=None))
