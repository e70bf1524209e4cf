"""Converts events and replies to Anthropic's stream and messages.

In a stream, blocks open and close one after another. The first event of another kind closes the open block:

    Thought, Text, CallStarted    thinking (ends with a signature), text (with citations), tool_use
"""

import json

import msgspec

from protocol.anthropic import message_wire as out
from protocol.anthropic.errors import anthropic_error
from protocol.anthropic.sources import AnswerSources
from protocol.http.body import encode_json
from protocol.http.markdown import MarkdownText
from protocol.http.stream import StreamFraming
from protocol.model import (
    CallArguments,
    CallStarted,
    Declined,
    Event,
    Finish,
    FinishReason,
    GatewayError,
    Reply,
    Thought,
    Usage,
)

_SIGNATURE = "Z2VtaW5pLWdhdGV3YXk="
"""The signature of thoughts; any text will do, because thoughts that come back are not sent to the model."""
_REASONS: dict[FinishReason, out.StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}

FRAMING = StreamFraming(
    media_type=b"text/event-stream; charset=utf-8", heartbeat=b'event: ping\ndata: {"type":"ping"}\n\n'
)


def usage_of(usage: Usage) -> out.MessageUsage:
    """Return token counts in Anthropic's form.

    Tokens that the upstream already holds of the conversation are shown as read from a cache. So the counts
    add up to the length of the conversation, by which agents decide when to shorten it.
    """
    return out.MessageUsage(
        input_tokens=usage.input_tokens - usage.cached_tokens,
        output_tokens=usage.output_tokens,
        cache_read_input_tokens=usage.cached_tokens,
        output_tokens_details=out.ThinkingDetails(thinking_tokens=usage.reasoning_tokens),
    )


def stop_of(reason: FinishReason, sequence: str, declined: str) -> out.Stop:
    """Return why an answer ended; `declined` are the words with which the model declines to give it."""
    if declined or reason == "content_filter":
        return out.Stop(stop_reason="refusal", stop_details=out.StopDetails(explanation=declined or None))
    if sequence and reason == "stop":
        return out.Stop(stop_reason="stop_sequence", stop_sequence=sequence)
    return out.Stop(stop_reason=_REASONS[reason])


class MessageContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer takes from its request."""

    id: str
    """The id of the message."""
    request_id: str
    """The id of the request, which errors name."""
    thinking: bool
    """Whether thoughts are shown."""
    searches: bool
    """Whether the client offers a web search, so that sources are shown; others may not know these blocks."""
    input_tokens: int
    """The tokens of the whole request."""


class MessageWriter:
    """Writes one answer, streamed or whole (an `AnswerWriter` of `protocol.http.operation`)."""

    def __init__(self, model: str, text: MarkdownText, context: MessageContext) -> None:
        """Write the answer of a model as `text`."""
        self._model, self._text, self._context = model, text, context
        self._sources = AnswerSources()
        self._open: type[out.SaidBlock] | None = None
        """The kind of block that is open."""
        self._blocks = 0
        """The number of blocks that are closed."""
        self._declined = ""
        self._late = ""
        """Thoughts that came within a call, to be written behind it."""
        self.finished = False

    def opened(self) -> bytes:
        """Return the event that begins the stream."""
        usage = usage_of(Usage(input_tokens=self._context.input_tokens, output_tokens=0))
        return _encoded(
            out.MessageStart(message=out.MessageObject(id=self._context.id, model=self._model, usage=usage))
        )

    def event(self, event: Event) -> bytes:
        """Return the events of an event."""
        match event:
            case Thought() if self._context.thinking and event.text:
                if self._open is out.SaidToolUse:
                    self._late += event.text
                    return b""
                return self._think(event.text)
            case CallStarted():
                return self._close() + self._within(out.SaidToolUse(id=event.id, name=event.name, input={}))
            case CallArguments():
                return self._delta(out.BlockInput(partial_json=event.text))
            case Finish():
                return self._finish(event)
            case _:
                self._declined += event.text if isinstance(event, Declined) else ""
                text, cited = self._text.add(event), self._cited(event)
                said = self._within(out.SaidText()) + self._delta(out.BlockText(text=text)) if text else b""
                if self._open is out.SaidText:
                    said += b"".join(self._delta(out.BlockCitation(citation=citation)) for citation in cited)
                return said

    def error(self, error: GatewayError) -> bytes:
        """Return the error that ends the stream."""
        return b"event: error\ndata: " + anthropic_error(error, self._context.request_id) + b"\n\n"

    def whole(self, reply: Reply) -> bytes:
        """Return the message of a whole answer."""
        content: list[out.SaidBlock] = []
        if self._context.thinking and reply.thoughts:
            content.append(out.SaidThinking(thinking=reply.thoughts, signature=_SIGNATURE))
        text = "".join(map(self._text.add, reply.pieces))
        cited = [citation for piece in (*reply.pieces, *reply.about) for citation in self._cited(piece)]
        if text:
            content.append(out.SaidText(text=text, citations=cited or msgspec.UNSET))
        content += [
            out.SaidToolUse(id=call.id, name=call.name, input=json.loads(call.arguments)) for call in reply.calls
        ]
        content += self._sources.blocks()
        stop = stop_of(reply.finish, reply.stop_sequence, reply.declined)
        return encode_json(
            out.MessageObject(
                id=self._context.id,
                model=self._model,
                content=content,
                usage=usage_of(reply.usage),
                **msgspec.structs.asdict(stop),
            )
        )

    def _finish(self, finish: Finish) -> bytes:
        self.finished = True
        stop = stop_of(finish.reason, finish.stop_sequence, self._declined)
        found = b"".join(map(self._found, self._sources.blocks()))
        end = _encoded(out.MessageDelta(delta=stop, usage=usage_of(finish.usage)))
        return found + self._close() + end + _encoded(out.MessageStop())

    def _cited(self, event: Event) -> list[out.WebCitation]:
        return self._sources.add(event) if self._context.searches else []

    def _found(self, block: out.SaidServerToolUse | out.SaidSearchResults) -> bytes:
        """Return the events of a search or its results; clients take the arguments of the search from a delta."""
        if isinstance(block, out.SaidSearchResults):
            return self._within(block)
        arguments = json.dumps(block.input)
        return self._within(msgspec.structs.replace(block, input={})) + self._delta(
            out.BlockInput(partial_json=arguments)
        )

    def _think(self, text: str) -> bytes:
        return self._within(out.SaidThinking()) + self._delta(out.BlockThinking(thinking=text))

    def _within(self, block: out.SaidBlock) -> bytes:
        """Return the events that open a block, unless one of its kind is open."""
        if self._open is type(block):
            return b""
        closed = self._close()
        self._open = type(block)
        return closed + _encoded(out.BlockStart(index=self._blocks, content_block=block))

    def _delta(self, delta: out.BlockPart) -> bytes:
        return _encoded(out.BlockDelta(index=self._blocks, delta=delta))

    def _close(self) -> bytes:
        """Return the events that close the open block."""
        if self._open is None:
            return b""
        signed = self._delta(out.BlockSignature(signature=_SIGNATURE)) if self._open is out.SaidThinking else b""
        closed = signed + _encoded(out.BlockStop(index=self._blocks))
        self._open = None
        self._blocks += 1
        late, self._late = self._late, ""
        return closed + self._think(late) + self._close() if late else closed


def _encoded(event: out.StreamedEvent) -> bytes:
    name = str(event.__struct_config__.tag).encode()
    return b"event: " + name + b"\ndata: " + encode_json(event) + b"\n\n"
