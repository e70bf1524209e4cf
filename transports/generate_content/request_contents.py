"""Makes the messages of a request to the API from the turns of a conversation.

Clients send histories that the API refuses, and those are mended here. Successive turns of the model become one
message, since a call must follow a message of the user or results. Each call gets one result: a missing one says that
it is missing, and one without a call becomes text. A conversation never begins with a call.

Example: `user, model(call a, call b), result b, user` is sent as `user, model(call a, call b), user(result a: missing,
result b), user`.

Source: "GenerateContentRequest", "Thinking".
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from protocol.model import FilePart, MediaPart, Role, TextPart, ToolCall, Turn
from transports.generate_content import wire
from transports.generate_content.api_names import api_name
from transports.generate_content.nesting import is_too_deep

SYSTEM_ROLES = frozenset({Role.SYSTEM, Role.DEVELOPER})
_NO_RESULT = {"error": "There is no result of this call."}
_NO_BEGINNING = wire.Content((wire.ContentPart(text="(The beginning of this conversation is missing.)"),), "user")


class Inserts(msgspec.Struct, frozen=True, kw_only=True):
    """What a request contains besides its own texts."""

    files: Mapping[int, wire.ContentPart] = {}
    """The files and media of the turns, by the `id()` of their part."""
    signature: Callable[[ToolCall], str] = lambda _: ""
    """Returns the thought signature of a call; empty: not known."""
    signed_texts: Collection[str] = frozenset()
    """The signatures of texts that go back to the model: those that the asked account has got."""
    instructions: str = ""
    """Instructions of the gateway for this kind of answer."""
    tools: tuple[wire.Tool, ...] = ()
    """Tools of the API."""


def contents_of(turns: Sequence[Turn], inserts: Inserts, *, signed: bool) -> tuple[wire.Content, ...]:
    """Return the messages of a conversation; `signed`: the model wants signatures of its calls."""
    contents = _SentMessages(inserts, signed=signed)
    for turn in turns:
        contents.add(turn)
    return contents.all()


class _SentMessages:
    """Collects the messages of one conversation."""

    def __init__(self, inserts: Inserts, *, signed: bool) -> None:
        self._inserts, self._signed = inserts, signed
        self._done: list[wire.Content] = []
        self._calls: list[ToolCall] = []
        """The calls of the model's last message, which have no results in `_done` yet."""
        self._results: list[Turn] = []

    def all(self) -> tuple[wire.Content, ...]:
        """Return the messages."""
        if self._calls or self._results:
            self._settle()
        done = tuple(self._done)
        if done and done[0].role == "model" and (len(done) == 1 or any(part.function_call for part in done[0].parts)):
            return (_NO_BEGINNING, *done)
        return done

    def add(self, turn: Turn) -> None:
        """Add a turn; those of the system belong elsewhere."""
        if turn.role is Role.TOOL:
            self._results.append(turn)
        elif turn.role is Role.ASSISTANT:
            if self._results:
                self._settle()
            calls = call_parts(turn.tool_calls, self._inserts, signed=self._signed and not self._calls)
            self._append("model", (*self.signed_text(turn), *calls))
            self._calls += turn.tool_calls
        elif turn.role not in SYSTEM_ROLES:
            if self._calls or self._results:
                self._settle()
            self._append("user", self._said(turn))

    def _said(self, turn: Turn) -> list[wire.ContentPart]:
        parts: list[wire.ContentPart] = []
        for part in turn.parts:
            if not isinstance(part, TextPart):
                parts.append(viewed_file(part, self._inserts, since_3=self._signed))
            elif part.text:
                parts.append(wire.ContentPart(text=part.text))
        return parts

    def signed_text(self, turn: Turn) -> list[wire.ContentPart]:
        """Return the text of an answer; its last part has the signature that came with it."""
        parts = self._said(turn)
        if turn.signature in self._inserts.signed_texts and parts and parts[-1].text is not None:
            parts[-1] = msgspec.structs.replace(parts[-1], thought_signature=turn.signature)
        return parts

    def _append(self, role: str, parts: Sequence[wire.ContentPart]) -> None:
        if not parts:
            return
        if role == "model" and self._done and self._done[-1].role == "model":
            parts = (*self._done.pop().parts, *parts)
        self._done.append(wire.Content(tuple(parts), role))

    def _settle(self) -> None:
        """Add the results of the last calls, in the order of the calls."""
        given, calls = self._results, self._calls
        self._results, self._calls = [], []
        by_id = {result.tool_call_id: result for result in reversed(given)}
        others = [result for result in given if result.tool_call_id not in {call.id for call in calls}]
        parts: list[wire.ContentPart] = []
        for call in calls:
            result = by_id.get(call.id) or (others.pop(0) if others else None)
            parts += result_parts(call, result, self._inserts)
        self._append("user", parts)
        for result in others:
            words = (
                f"Result of a call of '{result.name or 'a function'}' that is not in this conversation:\n{result.text}"
            )
            files = [part for part in self._said(result) if part.text is None]
            self._append("user", (wire.ContentPart(text=words), *files))


def viewed_file(part: FilePart | MediaPart, inserts: Inserts, *, since_3: bool) -> wire.ContentPart:
    """Return the part of a file with the way in which it is read; only models since Gemini 3 have a resolution."""
    sent = inserts.files[id(part)]
    if isinstance(part, MediaPart) or part.view is None:
        return sent
    view = part.view
    clip = wire.VideoClipping(view.start, view.end, view.fps)
    return msgspec.structs.replace(
        sent,
        media_resolution=wire.MediaResolution(view.resolution) if view.resolution and since_3 else None,
        video_metadata=clip if clip != wire.VideoClipping() and part.mime.startswith("video/") else None,
    )


def call_parts(calls: Sequence[ToolCall], inserts: Inserts, *, signed: bool) -> Iterator[wire.ContentPart]:
    """Yield the calls of one answer; of several at once only the first one has a signature."""
    for number, call in enumerate(calls):
        signature = inserts.signature(call)
        if not signature and not number and signed:
            signature = wire.SKIP_SIGNATURE
        arguments = _object(call.arguments) or {}
        if is_too_deep(arguments):
            arguments = {"arguments": call.arguments}
        yield wire.ContentPart(
            function_call=wire.FunctionCall(name=api_name(call.name), args=arguments, id=call.id),
            thought_signature=signature,
        )


def result_parts(call: ToolCall, result: Turn | None, inserts: Inserts) -> Iterator[wire.ContentPart]:
    """Yield the result of a call: a compact JSON object as it is, another text as `{"result": …}`.

    Only files within the request belong to the result itself; an uploaded file follows it.
    """
    parts = result.parts if result is not None else ()
    files = [inserts.files[id(part)] for part in parts if isinstance(part, FilePart | MediaPart)]
    response = _NO_RESULT if result is None else _exact_object(result.text)
    yield wire.ContentPart(
        function_response=wire.FunctionResponse(
            name=api_name(call.name),
            response=response if response is not None else {"result": result.text if result is not None else ""},
            id=call.id,
            parts=tuple(wire.FunctionResponsePart(file.inline_data) for file in files if file.inline_data is not None),
        )
    )
    yield from (file for file in files if file.inline_data is None)


def _object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is, or None."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _exact_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is if it loses nothing as an object, or None.

    The API keeps objects as `google.protobuf.Struct`: blanks between the values, doubled names and large numbers would
    be lost, and a client may look for its text in the answer. Nor does it keep objects that are nested too deeply.
    """
    value = _object(text)
    if value is None or is_too_deep(value):
        return None
    return value if json.dumps(value, separators=(",", ":"), ensure_ascii=False) == text else None
