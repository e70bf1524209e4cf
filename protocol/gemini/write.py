"""Converts events and replies to Gemini's answers: one object, or a stream of chunks.

A chunk has the parts that its event adds, so clients append them. A function call is one part with all of its
arguments. A stream is SSE, or one JSON array whose members arrive one after another.
"""

import secrets
from collections.abc import Iterator, Sequence

import msgspec

from protocol.gemini.candidate_wire import (
    AnswerCandidate,
    AnswerContent,
    AnsweredFunction,
    AnswerPart,
    GenerateResponse,
    InlineData,
    LinkedFile,
    PromptFeedback,
    UsageMetadata,
)
from protocol.gemini.deliver import FetchedPicture, WholeAnswer
from protocol.gemini.errors import rpc_error
from protocol.gemini.grounding import Sources
from protocol.http.body import encode_json
from protocol.http.embed import Embedding, Pieces
from protocol.http.markdown import MarkdownText
from protocol.http.stream import StreamFraming
from protocol.model import (
    CallArguments,
    CallStarted,
    Citation,
    Declined,
    Event,
    Finish,
    GatewayError,
    Media,
    MediaKind,
    Text,
    Thought,
    Usage,
    Waiting,
    WebImage,
    Withheld,
    WorkStarted,
)

_REASONS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_WITHIN_CALL = (CallArguments, Waiting, Thought, WorkStarted)
"""Events that do not end a call."""
_MIMES = {MediaKind.IMAGE: "image/png", MediaKind.VIDEO: "video/mp4", MediaKind.AUDIO: "audio/mpeg"}

SSE_FRAMING = StreamFraming(
    media_type=b"text/event-stream",
    heartbeat=b'data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"index":0}]}\r\n\r\n',
)
"""The heartbeat is a chunk without text: Google's SDKs take a comment for broken JSON."""
ARRAY_FRAMING = StreamFraming(media_type=b"application/json", heartbeat=b"\n")


class AnswerForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks of the form of its answer."""

    model: str
    thoughts: bool = False
    """Whether the answer has the thoughts."""
    is_enum: bool = False
    """Whether the answer is the bare text of a JSON string."""
    is_array: bool = False
    """Whether a stream is a JSON array and no SSE."""


class CandidateWriter:
    """Writes one answer, streamed or whole (an `AnswerWriter` of `protocol.http.operation`)."""

    def __init__(self, form: AnswerForm, content: MarkdownText) -> None:
        """Write an answer in this form; `content` writes the notices and links in it."""
        self._form, self._content = form, content
        self._id = secrets.token_urlsafe(16)
        self._sources = Sources()
        self._call: tuple[CallStarted, list[str]] | None = None
        """The call that is being written, and its arguments so far."""
        self._quoted: list[str] = []
        """The JSON string of an enum's member so far."""
        self._declined = ""
        self._begun = False
        """Whether a part of the answer was written."""
        self._embedding = Embedding()
        self._separator = b"["
        """The bytes before the next member of an array."""
        self.finished = False

    def opened(self) -> bytes:
        """Return no bytes: the first chunk begins the stream."""
        return b""

    def event(self, event: Event | FetchedPicture) -> bytes | Pieces:
        """Return the chunk of an event."""
        parts = list(self._parts(event))
        if isinstance(event, Finish):
            self.finished = True
            return self._framed(self._last(parts, event.reason, event.usage))
        return self._framed(self._response(parts)) if parts else b""

    def error(self, error: GatewayError) -> bytes:
        """Return the error that ends the stream."""
        self.finished = True
        before, after = self._frame()
        return before + rpc_error(error) + after

    def whole(self, reply: WholeAnswer) -> bytes | Pieces:
        """Return the body of a whole answer."""
        answer = reply.reply
        events: list[Event | FetchedPicture] = [Thought(answer.thoughts)] if answer.thoughts else []
        events += [
            reply.pictures.get(piece.ref, piece) if isinstance(piece, Media) else piece for piece in answer.pieces
        ]
        for call in answer.calls:
            events += [CallStarted(id=call.id, name=call.name), CallArguments(call.arguments)]
        if answer.declined:
            events.append(Declined(answer.declined))
        events.append(Finish(reason=answer.finish, usage=answer.usage))
        parts = [part for event in events for part in self._parts(event)]
        return self._filled(b"", self._last(parts, answer.finish, answer.usage), b"")

    def _parts(self, event: Event | FetchedPicture) -> Iterator[AnswerPart]:
        """Yield the parts that an event adds, after the call that it ends."""
        if self._call is not None and not isinstance(event, _WITHIN_CALL):
            (started, arguments), self._call = self._call, None
            args = msgspec.json.decode("".join(arguments) or "{}")
            yield AnswerPart(function_call=AnsweredFunction(id=started.id, name=started.name, args=args))
        match event:
            case CallStarted():
                self._call = event, []
            case CallArguments():
                if self._call is not None:
                    self._call[1].append(event.text)
            case Citation():
                self._sources.cite(event)
            case Declined():
                self._declined = event.text
            case _:
                yield from self._content_parts(event)

    def _content_parts(self, event: Event | FetchedPicture) -> Sequence[AnswerPart]:
        """Return the parts of text, media and thoughts that an event adds."""
        match event:
            case Text() if self._form.is_enum:
                self._quoted.append(event.text)
            case Text() | WebImage() | Withheld():
                text = self._content.add(event)
                self._sources.say(text)
                return [AnswerPart(text=text)] if text else []
            case Thought() if self._form.thoughts:
                return [AnswerPart(text=event.text, thought=True)]
            case FetchedPicture():
                data = self._embedding.placeholder(event.content)
                return [AnswerPart(inline_data=InlineData(mime_type=event.mime, data=data))]
            case Media():
                url = self._content.sign(event)
                return [AnswerPart(file_data=LinkedFile(mime_type=_MIMES[event.ref.kind], file_uri=url))]
            case Finish() if self._quoted:
                member = msgspec.json.decode("".join(self._quoted))
                return [AnswerPart(text=member if isinstance(member, str) else "".join(self._quoted))]
            case _:
                pass
        return []

    def _last(self, parts: Sequence[AnswerPart], reason: str, usage: Usage) -> GenerateResponse:
        """Return the last chunk of a stream, or all of an answer."""
        counts = UsageMetadata(
            prompt_token_count=usage.input_tokens,
            candidates_token_count=usage.output_tokens - usage.reasoning_tokens,
            thoughts_token_count=usage.reasoning_tokens,
            total_token_count=usage.input_tokens + usage.output_tokens,
        )
        if reason == "content_filter" and not parts and not self._begun:
            feedback = PromptFeedback(block_reason="SAFETY", block_reason_message=self._declined)
            return GenerateResponse(
                prompt_feedback=feedback, usage_metadata=counts, model_version=self._form.model, response_id=self._id
            )
        if self._declined:
            parts, reason = [*parts, AnswerPart(text=self._declined)], "content_filter"
        return self._response(parts, _REASONS[reason], counts)

    def _response(
        self, parts: Sequence[AnswerPart], reason: str | None = None, usage: UsageMetadata | None = None
    ) -> GenerateResponse:
        self._begun = True
        candidate = AnswerCandidate(
            content=AnswerContent(parts=[*parts] or [AnswerPart(text="")]),  # SDKs drop a chat whose chunk has no part
            finish_reason=reason,
            finish_message=self._declined or None,
            grounding_metadata=self._sources.metadata(self._content) if reason is not None else None,
            index=0,
        )
        return GenerateResponse(
            candidates=[candidate], usage_metadata=usage, model_version=self._form.model, response_id=self._id
        )

    def _framed(self, response: GenerateResponse) -> bytes | Pieces:
        before, after = self._frame()
        return self._filled(before, response, after)

    def _frame(self) -> tuple[bytes, bytes]:
        """Return the bytes around the next chunk of the stream."""
        if not self._form.is_array:
            return b"data: ", b"\r\n\r\n"
        before, self._separator = self._separator, b",\r\n"
        return before, b"]" if self.finished else b""

    def _filled(self, before: bytes, response: GenerateResponse, after: bytes) -> bytes | Pieces:
        """Return a response with its pictures."""
        text = before + encode_json(response) + after
        if not any(part.inline_data for candidate in response.candidates or () for part in candidate.content.parts):
            return text
        embedding, self._embedding = self._embedding, Embedding()
        return embedding.fill(text)
