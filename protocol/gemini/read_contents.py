"""Reads the messages of a request: its contents and its system instruction.

Results of functions belong to the calls of the model's last message: by their id, or else by name and order, since ids
are optional. Clients that keep the chunks of a stream send each as a message of its own; these become one message.
"""

import re
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from protocol.gemini import wire
from protocol.http.conversation import Attachment, Message, Source
from protocol.model import BadRequest, FileView, Role, ToolCall

_ROLES = {
    "user": Role.USER,
    "model": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "function": Role.USER,
    "tool": Role.USER,
    "system": Role.SYSTEM,
}
_AT_GOOGLE = re.compile(r"https?://generativelanguage\.googleapis\.com/|gs:", re.IGNORECASE)
_UPLOADED = re.compile(r"(?:https?://[^\s?#]+/v1(?:beta|alpha)?/)?files/([a-z0-9-]{1,128})(?:[?#]|\Z)")
"""The name of a file that was uploaded to this gateway, perhaps below an address that a proxy has changed."""

_YOUTUBE = re.compile(r"https?://([a-z]+\.)?(youtube\.com|youtu\.be)/", re.IGNORECASE)
"""Videos that Google's API watches; the address itself is that of a page."""

_encode = msgspec.json.Encoder().encode

Content = str | Attachment


def messages_of(body: wire.GenerateRequest) -> list[Message]:
    """Return the messages of a request.

    Raises:
        BadRequest: a role is unknown, a system instruction has a file, or a file is stored at Google or at YouTube.

    """
    reader = _Reader()
    instruction = body.system_instruction
    if instruction is not None:
        if not isinstance(instruction, wire.GeminiContent):
            parts: wire.Parts = [instruction] if isinstance(instruction, str) else instruction
            instruction = wire.GeminiContent(parts=parts)
        reader.add(msgspec.structs.replace(instruction, role="system"), "systemInstruction")
    for index, content in enumerate(body.contents):
        message = wire.GeminiContent(parts=[content]) if isinstance(content, str) else content
        reader.add(message, f"contents[{index}]")
    return reader.messages


class _Reader:
    """Collects the messages of one conversation."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._open: list[ToolCall] = []
        """The calls of the model's last message that have no result yet."""

    def add(self, message: wire.GeminiContent, at: str) -> None:
        """Add a message of the client's."""
        role = _ROLES.get(message.role.lower() or "user")
        if role is None:
            known = ", ".join(f"'{name}'" for name in _ROLES)
            raise BadRequest(f"'{at}.role' must be one of {known}.", param=f"{at}.role")
        parts = [*message.parts, *([message.text] if message.text else [])]
        if role is Role.ASSISTANT:
            self._add_answer(parts, at)
            return
        found: list[Content] = []
        for index, part in enumerate(parts):
            where = f"{at}.parts[{index}]"
            if isinstance(part, wire.ContentPart) and part.function_response is not None:
                self._add_result(part.function_response, f"{where}.functionResponse")
                continue
            read = content_of(part, where)
            if role is Role.SYSTEM and isinstance(read, Attachment):
                raise BadRequest(f"A system instruction is text only (at '{where}').", param=where)
            if read:
                found.append(read)
        if found:
            self.messages.append(Message(role=role, parts=tuple(found)))

    def _add_answer(self, parts: Sequence[wire.ContentPart | str], at: str) -> None:
        """Add a message of the model, or its next part."""
        before = self.messages[-1] if self.messages and self.messages[-1].role is Role.ASSISTANT else None
        found: list[Content] = list(before.parts) if before is not None else []
        calls: list[ToolCall] = list(before.tool_calls) if before is not None else []
        signed = before.signature if before is not None else ""
        if before is None:
            self._open = []
        for index, part in enumerate(parts):
            call = part.function_call if isinstance(part, wire.ContentPart) else None
            if call is not None and isinstance(part, wire.ContentPart):
                identity = call.id or f"call_{len(self.messages)}_{len(calls)}"
                arguments, signature = _encode(call.args or {}).decode(), part.thought_signature
                calls.append(
                    ToolCall(
                        id=identity,
                        name=call.name,
                        arguments=arguments,
                        signature=signature if isinstance(signature, str) else "",
                    )
                )
                self._open.append(calls[-1])
            elif isinstance(part, str) or not part.thought:
                read = content_of(part, f"{at}.parts[{index}]")
                if isinstance(read, str) and found and isinstance(found[-1], str):
                    found[-1] += read
                elif read:
                    found.append(read)
                if isinstance(part, wire.ContentPart) and isinstance(part.thought_signature, str):
                    signed = part.thought_signature
        answer = Message(role=Role.ASSISTANT, parts=tuple(found), tool_calls=tuple(calls), signature=signed)
        self.messages[len(self.messages) - (before is not None) :] = [answer] if found or calls else []

    def _add_result(self, result: wire.FunctionResponse, at: str) -> None:
        """Add the result of a function."""
        fitting = [call for call in self._open if call.id == result.id] if result.id else []
        fitting = fitting or [call for call in self._open if call.name == result.name] or self._open
        if fitting:
            self._open.remove(fitting[0])
        files = [
            _attachment(part.inline_data, part.file_data, f"{at}.parts[{index}]")
            for index, part in enumerate(result.parts)
        ]
        self.messages.append(
            Message(
                role=Role.TOOL,
                parts=(
                    _text_of(result.response),
                    *(file for file in files if file is not None),
                ),
                name=result.name,
                tool_call_id=fitting[0].id if fitting else result.id,
            )
        )


def _text_of(response: object) -> str:
    """Return a function's result as JSON; a text that an SDK has wrapped as it is."""
    wrapped = cast("dict[str, Any]", response) if isinstance(response, dict) else {}
    text = wrapped.get("result", wrapped.get("output")) if len(wrapped) == 1 else None
    return text if isinstance(text, str) else _encode({} if response is None else response).decode()


def content_of(part: wire.ContentPart | str, at: str) -> Content | None:
    """Return the text or the file of a part, or None; a call or a result is neither."""
    if isinstance(part, str):
        return part
    if part.text is not None:
        return part.text
    if part.executable_code is not None:
        return f"```{part.executable_code.language.lower()}\n{part.executable_code.code}\n```\n"
    if part.code_execution_result is not None:
        return f"```\n{part.code_execution_result.output}\n```\n"
    found = _attachment(part.inline_data, part.file_data, at)
    return msgspec.structs.replace(found, view=_view(part, at)) if found is not None else None


def _view(part: wire.ContentPart, at: str) -> FileView | None:
    """Return how a file is read."""
    level = part.media_resolution.level if part.media_resolution is not None else ""
    if level and level not in wire.PART_RESOLUTIONS and level != wire.RESOLUTIONS[0]:
        param = f"{at}.mediaResolution.level"
        raise BadRequest(f"'{param}' must be one of: {', '.join(sorted(wire.PART_RESOLUTIONS))}.", param=param)
    clip = part.video_metadata or wire.VideoMetadata()
    resolution = level if level in wire.PART_RESOLUTIONS else ""
    view = FileView(resolution=resolution, start=clip.start_offset, end=clip.end_offset, fps=clip.fps)
    return view if view != FileView() else None


def _attachment(inline: wire.Blob | None, file: wire.FileData | None, at: str) -> Attachment | None:
    if inline is not None:
        source = Source(form="file", text=inline.data, name=inline.display_name or "")
        return Attachment(at=at, param=f"{at}.inlineData.data", source=source)
    if file is None:
        return None
    param = f"{at}.fileData.fileUri"
    if _AT_GOOGLE.match(file.file_uri):
        text = f"This gateway cannot open files that are stored at Google: upload the file here (at '{param}')."
        raise BadRequest(text, param=param, code="unsupported_parameter")
    if _YOUTUBE.match(file.file_uri):
        text = f"Videos of YouTube cannot be attached: write the address into the text (at '{param}')."
        raise BadRequest(text, param=param, code="unsupported_parameter")
    uploaded = _UPLOADED.match(file.file_uri)
    if uploaded is not None:
        return Attachment(
            at=at, param=param, source=Source(form="file_id", text=uploaded[1], name=file.display_name or "")
        )
    return Attachment(at=at, param=param, source=Source(form="link", text=file.file_uri, name=file.display_name or ""))
