"""Writes Gemini's answers: one object, or a stream of chunks.

A chunk has the parts that its event adds, so clients append them. A function call is one part with all of its
arguments. A stream is SSE, or one JSON array whose members arrive one after another.
"""

from collections.abc import Sequence

from protocol.gemini.candidate_parts import AnswerForm, CandidateParts, joined
from protocol.gemini.candidate_wire import (
    AnswerCandidate,
    GenerateResponse,
    ModalityCount,
    PromptFeedback,
    UsageMetadata,
)
from protocol.gemini.deliver import FetchedPicture, WholeAnswer
from protocol.gemini.errors import rpc_error
from protocol.http.body import encode_json
from protocol.http.embed import Embedding, Pieces
from protocol.http.markdown import MarkdownText
from protocol.http.side_by_side import Numbered
from protocol.http.stream import StreamFraming
from protocol.model import (
    NO_USAGE,
    CallArguments,
    CallStarted,
    Declined,
    Event,
    Finish,
    GatewayError,
    Media,
    Thought,
)

SSE_FRAMING = StreamFraming(
    media_type=b"text/event-stream",
    heartbeat=b'data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"index":0}]}\r\n\r\n',
)
"""The heartbeat is a chunk without text: Google's SDKs take a comment for broken JSON."""
ARRAY_FRAMING = StreamFraming(media_type=b"application/json", heartbeat=b"\n")


class GeminiWriter:
    """Writes one answer, streamed or whole (an `AnswerWriter` of `protocol.http.operation`)."""

    def __init__(self, form: AnswerForm, contents: Sequence[MarkdownText], identity: str) -> None:
        """Write an answer in this form; each of `contents` writes the notices and links of one candidate."""
        self._form = form
        self._candidates = [CandidateParts(form, content, index) for index, content in enumerate(contents)]
        self._open = len(self._candidates)
        """The number of candidates that are not complete."""
        self._usage = NO_USAGE
        self._id = identity
        self._embedding = Embedding()
        self._separator = b"["
        """The bytes before the next member of an array."""

    @property
    def finished(self) -> bool:
        """Whether all candidates are complete."""
        return self._open <= 0

    def opened(self) -> bytes:
        """Return no bytes: the first chunk begins the stream."""
        return b""

    def event(self, event: Event | FetchedPicture | Numbered) -> bytes | Pieces:
        """Return the chunk of an event."""
        index, step = (event.index, event.event) if isinstance(event, Numbered) else (0, event)
        candidate = self._candidates[index]
        parts = list(candidate.add(step, self._embedding.placeholder))
        if isinstance(step, Finish):
            self._usage += step.usage
            last = candidate.last(parts, step)
            self._open = 0 if last is None else self._open - 1
            return self._chunk(self._complete([last], candidate.declined))
        return self._chunk(self._response(candidates=[candidate.next(parts)])) if parts else b""

    def error(self, error: GatewayError) -> bytes:
        """Return the error that ends the stream."""
        self._open = 0
        before, after = self._frame()
        return before + rpc_error(error) + after

    def whole(self, reply: WholeAnswer) -> bytes | Pieces:
        """Return the body of a whole answer."""
        done: list[AnswerCandidate | None] = []
        for answer, candidate in zip(reply.replies, self._candidates, strict=True):
            events: list[Event | FetchedPicture] = [Thought(answer.thoughts)] if answer.thoughts else []
            events += [
                reply.pictures.get(piece.ref, piece) if isinstance(piece, Media) else piece for piece in answer.pieces
            ]
            events += answer.about
            events += answer.sounds
            for call in answer.calls:
                events += [
                    CallStarted(id=call.id, name=call.name, signature=call.signature),
                    CallArguments(call.arguments),
                ]
            if answer.declined:
                events += reply.declined or [Declined(answer.declined)]
            end = Finish(reason=answer.finish, usage=answer.usage, upstream=answer.upstream)
            parts = [part for event in (*events, end) for part in candidate.add(event, self._embedding.placeholder)]
            done.append(candidate.last(joined(parts), end))
        self._usage = reply.usage
        return self._filled(b"", self._complete(done, self._candidates[0].declined), b"")

    def _complete(self, done: Sequence[AnswerCandidate | None], declined: Declined) -> GenerateResponse:
        """Return a response with the last parts of candidates, and the usage so far."""
        usage = self._usage
        counts = UsageMetadata(
            prompt_token_count=usage.input_tokens - usage.tool_tokens,
            cached_content_token_count=usage.cached_tokens,
            candidates_token_count=usage.output_tokens - usage.reasoning_tokens,
            thoughts_token_count=usage.reasoning_tokens,
            tool_use_prompt_token_count=usage.tool_tokens,
            prompt_tokens_details=[ModalityCount(*one) for one in usage.input_modalities],
            candidates_tokens_details=[ModalityCount(*one) for one in usage.output_modalities],
            total_token_count=usage.input_tokens + usage.output_tokens,
        )
        answered = [candidate for candidate in done if candidate is not None]
        if answered:
            return self._response(candidates=answered, usage=counts)
        feedback = PromptFeedback(block_reason=declined.reason or "SAFETY", block_reason_message=declined.text)
        return self._response(feedback=feedback, usage=counts)

    def _response(
        self,
        *,
        candidates: list[AnswerCandidate] | None = None,
        feedback: PromptFeedback | None = None,
        usage: UsageMetadata | None = None,
    ) -> GenerateResponse:
        return GenerateResponse(
            candidates=candidates,
            prompt_feedback=feedback,
            usage_metadata=usage,
            model_version=self._form.model,
            response_id=self._id,
        )

    def _chunk(self, response: GenerateResponse) -> bytes | Pieces:
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
        contents = [one.content for one in response.candidates or () if one.content is not None]
        if not any(part.inline_data for content in contents for part in content.parts):
            return text
        embedding, self._embedding = self._embedding, Embedding()
        return embedding.fill(text)
