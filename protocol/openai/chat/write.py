"""Converts events and replies to OpenAI's chunks and completions."""

import secrets
from typing import assert_never

import msgspec

from protocol.model import (
    Begun,
    Citation,
    Document,
    Event,
    Finish,
    GatewayError,
    Media,
    Reply,
    Text,
    Thought,
    Usage,
    Waiting,
    WebImage,
)
from protocol.openai.chat import response_wire
from protocol.openai.chat.rendering import Rendering
from protocol.openai.codec import encode
from protocol.openai.errors import in_stream

_DONE = b"data: [DONE]\n\n"
_PLACE = "\0the place of a text\0"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that every object of one answer repeats."""

    id: str
    created: int
    model: str

    @classmethod
    def new(cls, model: str, created: float) -> "Head":
        """Return a head with a new id."""
        return cls(id=f"chatcmpl-{secrets.token_hex(14)}", created=int(created), model=model)


def usage_of(usage: Usage) -> response_wire.Usage:
    """Return token counts in OpenAI's form."""
    return response_wire.Usage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=response_wire.PromptDetails(),
        completion_tokens_details=response_wire.CompletionDetails(reasoning_tokens=usage.reasoning_tokens),
    )


class CompletionWriter:
    """Writes one answer, streamed or whole (an `AnswerWriter` of `protocol.http.operation`)."""

    def __init__(self, head: Head, rendering: Rendering, *, include_usage: bool = False) -> None:
        """Write chunks or a completion with this head; `include_usage`: a stream ends with its usage."""
        self._head, self._rendering = head, rendering
        self._usage: msgspec.UnsetType | None = None if include_usage else msgspec.UNSET
        self._around: tuple[bytes, bytes] | None = None
        """The bytes before and after the text in a text chunk."""
        self.finished = False

    def opened(self) -> bytes:
        """Return the chunk with the role."""
        return self._chunk(response_wire.Delta(role="assistant", content=""))

    def event(self, event: Event) -> bytes:
        """Return the chunks of an event."""
        match event:
            case Text():
                text, more = self._rendering.add_text(event.text)
                return (self._text(text) if text else b"") + self._chunks(more)
            case Media() | WebImage() | Citation() | Document():
                return self._chunks(self._rendering.render(event))
            case Thought():
                return self._chunk(response_wire.Delta(reasoning_content=event.text))
            case Finish():
                return self._chunks(self._rendering.finish()) + self._finish(event)
            case Waiting() | Begun():
                return b""
            case _:
                assert_never(event)

    def error(self, error: GatewayError) -> bytes:
        """Return the error that ends the stream."""
        return in_stream(error)

    def whole(self, reply: Reply) -> bytes:
        """Return the completion of a whole answer."""
        head, rendering = self._head, self._rendering
        deltas = [delta for piece in reply.pieces for delta in rendering.render(piece)] + rendering.finish()
        message = response_wire.AnswerMessage(
            content="".join(delta.content or "" for delta in deltas),
            reasoning_content=reply.thoughts or msgspec.UNSET,
            annotations=[entry for delta in deltas for entry in delta.annotations or ()],
            images=[entry for delta in deltas for entry in delta.images or ()] or msgspec.UNSET,
            videos=[entry for delta in deltas for entry in delta.videos or ()] or msgspec.UNSET,
            audios=[entry for delta in deltas for entry in delta.audios or ()] or msgspec.UNSET,
            document=next((delta.document for delta in reversed(deltas) if delta.document), msgspec.UNSET),
        )
        return encode(
            response_wire.Completion(
                id=head.id,
                created=head.created,
                model=head.model,
                choices=[response_wire.Choice(message=message, finish_reason=reply.finish)],
                usage=usage_of(reply.usage),
            ),
        )

    def _finish(self, event: Finish) -> bytes:
        self.finished = True
        data = self._chunk(response_wire.Delta(), event.reason)
        if self._usage is None:
            data += self._event(self._object([], usage_of(event.usage)))
        return data + _DONE

    def _chunks(self, deltas: list[response_wire.Delta]) -> bytes:
        return b"".join(map(self._chunk, deltas))

    def _chunk(self, delta: response_wire.Delta, finish_reason: str | None = None) -> bytes:
        return self._event(
            self._object([response_wire.ChunkChoice(delta=delta, finish_reason=finish_reason)], self._usage)
        )

    def _object(
        self, choices: list[response_wire.ChunkChoice], usage: response_wire.Usage | msgspec.UnsetType | None
    ) -> response_wire.Chunk:
        head = self._head
        return response_wire.Chunk(id=head.id, created=head.created, model=head.model, choices=choices, usage=usage)

    def _text(self, text: str) -> bytes:
        """Return a text chunk; only the text is encoded, because most chunks of a stream are text."""
        if self._around is None:
            before, _, after = self._chunk(response_wire.Delta(content=_PLACE)).partition(encode(_PLACE))
            self._around = before, after
        before, after = self._around
        return before + encode(text) + after

    @staticmethod
    def _event(chunk: response_wire.Chunk) -> bytes:
        return b"data: " + encode(chunk) + b"\n\n"
