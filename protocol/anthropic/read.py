"""Converts a request to a `GenerationRequest`, and its messages to those of `protocol.http.conversation`."""

import re
from collections.abc import Container, Iterator, Sequence
from typing import Literal

import msgspec

from protocol.anthropic import wire
from protocol.anthropic.errors import NO_THREADS
from protocol.anthropic.tool_fields import json_output, tool_choice
from protocol.http.context import RequestContext, caller_of
from protocol.http.conversation import Attachment, Message, Source, read_turns
from protocol.http.ignored import IgnoredFields
from protocol.http.option_fields import effort_of, thinking_tokens_of, with_sampling
from protocol.http.stop import Bounds
from protocol.http.thinking import think_longer
from protocol.model import (
    AnswerOptions,
    BadRequest,
    Caller,
    Capability,
    Catalogue,
    GenerationRequest,
    Role,
    Selection,
    ToolCall,
)

_ATTRIBUTION = re.compile(r"\s*x-anthropic-billing-header:[^\n]*\n*")
"""Claude Code begins the system prompt with this line. It differs in every request, so none would continue a chat."""
_FAILED = "The tool failed:"
_DEEP = frozenset({"xhigh", "max"})
"""Efforts that stand for extended thinking; `high` is the usual one of the API."""
IGNORED = IgnoredFields({"temperature": (1,), "top_k": (0,), "top_p": (1,), "container": (), "mcp_servers": ()})
"""Fields that have no effect with the website, which has no such options."""

Part = str | Attachment
Blocks = Sequence[wire.Block | wire.TextBlock | wire.ImageBlock]


class MessageReader:
    """Reads the messages of a request. Texts around the thoughts of an answer are one text, as the model wrote it."""

    def __init__(self, long_strings: Container[str] = ()) -> None:
        """Refuse texts that are in `long_strings`: the placeholders of those that were taken for base64."""
        self._long_strings = long_strings

    def messages(self, body: wire.CountTokens) -> list[Message]:
        """Return the messages: first the system prompt, and each result of a tool as a message of its own.

        Raises:
            BadRequest: a block is in a message of another role, or a file is named by its id.

        """
        found = list(_system(body.system or ()))
        for index, message in enumerate(body.messages):
            match message:
                case wire.SystemInput():
                    found += _system(message.content)
                case wire.UserInput():
                    found += self._user(message.content, f"messages[{index}].content")
                case wire.AssistantInput():
                    found.append(self._assistant(message.content, f"messages[{index}].content"))
        return found

    def _user(self, content: str | Blocks, at: str) -> Iterator[Message]:
        parts: list[Part] = []
        has_results = False
        for block, where in _placed(content, at):
            if isinstance(block, wire.ToolResultBlock):
                has_results = True
                failed = (_FAILED,) if block.is_error else ()
                result = self._all_parts(block.content or "", f"{where}.content")
                yield Message(role=Role.TOOL, parts=(*failed, *result), tool_call_id=block.tool_use_id)
            else:
                parts += self._parts(block, where)
        if parts or not has_results:
            yield Message(role=Role.USER, parts=tuple(parts))

    def _assistant(self, content: str | Blocks, at: str) -> Message:
        parts: list[Part] = []
        calls: list[ToolCall] = []
        for block, where in _placed(content, at):
            if isinstance(block, wire.ToolUseBlock):
                arguments = msgspec.json.encode(block.input).decode()
                calls.append(ToolCall(id=block.id, name=block.name, arguments=arguments))
                continue
            for part in self._parts(block, where):
                if parts and isinstance(part, str) and isinstance(parts[-1], str):
                    parts[-1] += part
                else:
                    parts.append(part)
        return Message(role=Role.ASSISTANT, parts=tuple(parts), tool_calls=tuple(calls))

    def _all_parts(self, content: str | Blocks, at: str) -> Iterator[Part]:
        for block, where in _placed(content, at):
            yield from self._parts(block, where)

    def _parts(self, block: wire.Block, at: str) -> Iterator[Part]:
        match block:
            case wire.TextBlock():
                yield block.text
            case wire.CompactionBlock(content=summary):
                yield summary or ""
            case wire.ImageBlock():
                yield _file(block.source, at, "image")
            case wire.DocumentBlock():
                yield from self._document(block, at)
            case wire.SearchResultBlock():
                yield "\n".join([block.title, block.source, *(text.text for text in block.content)])
            case wire.ToolUseBlock() | wire.ToolResultBlock():
                kind, role = (
                    ("tool_use", "assistant") if isinstance(block, wire.ToolUseBlock) else ("tool_result", "user")
                )
                text = f"A block of type '{kind}' is allowed in messages of the role '{role}' only (at '{at}')."
                raise BadRequest(text, param=at, code="unsupported_content_part")
            case _:
                pass  # `UnsentBlock`

    def _document(self, block: wire.DocumentBlock, at: str) -> Iterator[Part]:
        source, about = block.source, [text for text in (block.title, block.context) if text]
        if isinstance(source, wire.TextSource):
            if source.data in self._long_strings:
                text = f"The text at '{at}.source.data' is too long: send it in base64, as a source of type 'base64'."
                raise BadRequest(text, param=f"{at}.source.data")
            yield "\n".join([*about, source.data])
        elif isinstance(source, wire.ContentSource):
            yield from about
            yield from self._all_parts(source.content, f"{at}.source.content")
        else:
            if block.context:
                yield block.context
            yield _file(source, at, "document", block.title or "")


def _system(content: str | Sequence[wire.TextBlock]) -> Iterator[Message]:
    texts = [content] if isinstance(content, str) else [block.text for block in content]
    kept = [text[start.end() :] if (start := _ATTRIBUTION.match(text)) else text for text in texts]
    if any(kept):
        yield Message(role=Role.SYSTEM, parts=tuple(filter(None, kept)))


def _placed(content: str | Blocks, at: str) -> Iterator[tuple[wire.Block, str]]:
    """Yield the blocks of a content with their paths."""
    if isinstance(content, str):
        yield wire.TextBlock(text=content), at
    else:
        yield from ((block, f"{at}[{index}]") for index, block in enumerate(content))


def _file(source: wire.FileSource, at: str, kind: Literal["image", "document"], title: str = "") -> Attachment:
    name = title if "." in title or not title else f"{title}.pdf"
    match source:
        case wire.Base64Source():
            form = "image_data" if kind == "image" else "file"
            return Attachment(at=at, param=f"{at}.source.data", source=Source(form=form, text=source.data, name=name))
        case wire.UrlSource():
            form = "image" if kind == "image" else "link"
            return Attachment(at=at, param=f"{at}.source.url", source=Source(form=form, text=source.url, name=name))
        case wire.StoredSource():
            form = "image_id" if kind == "image" else "file_id"
            return Attachment(at=at, param=f"{at}.source.file_id", source=Source(form=form, text=source.file_id))


def select(body: wire.CreateMessage, catalogue: Catalogue, caller: Caller) -> Selection:
    """Return the model of a request: its extended form if thinking is enabled, not adaptive, or the effort is highest.

    Raises:
        ModelUnknown: the model does not exist.

    """
    selection = catalogue.resolve(body.model)
    enabled = body.thinking is not None and body.thinking.type == "enabled"
    deep = body.output_config is not None and body.output_config.effort in _DEEP
    return think_longer(selection, caller) if enabled or deep else selection


async def read(
    body: wire.CountTokens, selection: Selection, catalogue: Catalogue, context: RequestContext
) -> GenerationRequest:
    """Convert a request to a selected model, to be answered or counted, and read its files.

    Raises:
        BadRequest: a field is invalid or not supported; `param` is its path.

    """
    asked = body if isinstance(body, wire.CreateMessage) else None
    if asked is not None and asked.thread is not None:
        raise BadRequest("'thread' is not supported: send the whole conversation.", param="thread", code=NO_THREADS)
    chat = selection.capability is Capability.CHAT  # the others answer with what they make, and call nothing
    tools, output = (tool_choice(body), json_output(body)) if chat else (None, None)
    messages = MessageReader(context.long_strings).messages(body)
    return GenerationRequest(
        id=context.id,
        caller=caller_of(context),
        selection=selection,
        turns=await read_turns(messages, selection, catalogue, context),
        streamed=asked is not None and bool(asked.stream),
        tools=tools,
        output=output,
        attempts_before=context.attempts_before,
    )


def read_options(body: wire.CreateMessage, selection: Selection, applied: frozenset[str]) -> AnswerOptions:
    """Return the options of a request; `applied` are those that some upstream of the model applies.

    Stop sequences are left to the gateway, which knows the one that ended the text.

    Raises:
        BadRequest: a field that is applied has a wrong value; `param` is its path.

    """
    thinking = body.thinking or wire.ThinkingField(type="adaptive")
    effort = body.output_config.effort if body.output_config is not None else None
    if thinking.type == "disabled":
        effort = "none"
    elif effort == "high":  # the usual one of the API
        effort = None
    budget = thinking.budget_tokens if thinking.type == "enabled" else None
    kinds = (
        [tool.type for tool in body.tools or ()] if body.tool_choice is None or body.tool_choice.type != "none" else []
    )
    options = AnswerOptions(
        max_tokens=body.max_tokens,
        effort=effort_of(effort, selection, applied),
        thinking_tokens=thinking_tokens_of(budget, selection, applied, "thinking.budget_tokens"),
        search=any(kind.startswith("web_search_") for kind in kinds),
        open_urls=any(kind.startswith("web_fetch_") for kind in kinds),
        run_code=any(kind.startswith("code_execution_") for kind in kinds),
    )
    return with_sampling(options, body, applied)


def bounds(body: wire.CreateMessage) -> Bounds:
    """Return the stop sequences and the token limit of a request; an empty sequence counts as none."""
    return Bounds(stops=tuple(filter(None, body.stop_sequences or ())), tokens=body.max_tokens)
