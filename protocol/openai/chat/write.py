"""Converts events and replies to OpenAI's chunks and completions."""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from protocol.http.body import encode_json
from protocol.http.context import UNCHANGED, ImageFormat, Links
from protocol.http.markdown import MarkdownText, is_web
from protocol.http.side_by_side import Numbered, Replies
from protocol.model import (
    CallArguments,
    Caller,
    CallStarted,
    Citation,
    Declined,
    Document,
    Event,
    Finish,
    GatewayError,
    Media,
    MediaKind,
    Piece,
    Reply,
    Signed,
    Text,
    Thought,
    Usage,
    WebImage,
    Weighed,
    WeighedToken,
    Withheld,
)
from protocol.openai.chat import response_wire
from protocol.openai.errors import in_stream


class Rendering:
    """Renders one answer, piece by piece."""

    def __init__(self, links: Links, caller: Caller, image_format: ImageFormat = UNCHANGED) -> None:
        """Sign media links for this caller; those of images lead to images in this format."""
        self._content = MarkdownText(links, caller, image_format)
        self._counts = dict.fromkeys(MediaKind, 0)
        self._cited: list[Citation] = []
        """Citations that are not rendered yet, because their text may be incomplete."""

    def render(self, piece: Piece) -> list[response_wire.Delta]:
        """Return the deltas of a piece, in order."""
        match piece:
            case Text():
                text, more = self.add_text(piece.text)
                return [response_wire.Delta(content=text), *more] if text else more
            case Media():
                return [self._media(piece)]
            case WebImage() | Withheld():
                text = self._content.add(piece)
                return [response_wire.Delta(content=text)] if text else []
            case Citation():
                self._cited.append(piece)
                return self._cite()
            case Document():
                return [response_wire.Delta(document=response_wire.DocumentEntry(title=piece.title, kind=piece.kind))]

    def add_text(self, text: str) -> tuple[str, list[response_wire.Delta]]:
        """Return the content that a text adds, and the deltas that follow it."""
        return self._content.add_text(text), self._cite() if self._cited else []

    def finish(self) -> list[response_wire.Delta]:
        """Return the remaining citations at the end of the answer, without those whose text was cut off."""
        rest = [citation for citation in self._cited if citation.end <= self._content.said]
        self._cited.clear()
        return self._annotations(rest)

    def _media(self, media: Media) -> response_wire.Delta:
        kind, url = media.ref.kind, self._content.sign(media)
        index, self._counts[kind] = self._counts[kind], self._counts[kind] + 1
        content = self._content.add_media(media, url)
        match kind:
            case MediaKind.IMAGE:
                entry = response_wire.ImageEntry(image_url=response_wire.Link(url), index=index)
                return response_wire.Delta(content=content, images=[entry])
            case MediaKind.VIDEO:
                video = response_wire.VideoEntry(video_url=response_wire.Link(url), index=index)
                return response_wire.Delta(content=content, videos=[video])
            case MediaKind.AUDIO:
                audio = response_wire.AudioEntry(audio_url=response_wire.Link(url), index=index)
                return response_wire.Delta(content=content, audios=[audio])

    def _cite(self) -> list[response_wire.Delta]:
        """Return the next citations whose text is complete."""
        due: list[Citation] = []
        while self._cited and self._cited[0].end <= self._content.said:
            due.append(self._cited.pop(0))
        return self._annotations(due)

    def _annotations(self, due: Iterable[Citation]) -> list[response_wire.Delta]:
        found: list[response_wire.Annotation] = []
        for citation in due:
            if is_web(citation.url):
                start, end = self._content.range_of(citation.start, citation.end)
                url_citation = response_wire.UrlCitation(
                    start_index=start, end_index=end, url=citation.url, title=citation.title
                )
                found.append(response_wire.Annotation(url_citation=url_citation))
        return [response_wire.Delta(annotations=found)] if found else []


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
        prompt_tokens_details=response_wire.PromptDetails(
            cached_tokens=usage.cached_tokens, audio_tokens=dict(usage.input_modalities).get("AUDIO", 0)
        ),
        completion_tokens_details=response_wire.CompletionDetails(
            reasoning_tokens=usage.reasoning_tokens, audio_tokens=dict(usage.output_modalities).get("AUDIO", 0)
        ),
    )


_LEAST_LOGPROB = -9999.0
"""OpenAI's number for what is most improbable; JSON has no infinity."""


def logprobs_of(tokens: Sequence[WeighedToken]) -> response_wire.Logprobs | None:
    """Return the probabilities of tokens in OpenAI's form; None: there are none."""
    if not tokens:
        return None

    def fields(token: WeighedToken) -> dict[str, Any]:
        data = list(token.text.encode("utf-8", "surrogatepass"))
        return {"token": token.text, "logprob": max(token.logprob, _LEAST_LOGPROB), "bytes": data}

    return response_wire.Logprobs(
        content=[
            response_wire.TokenLogprob(
                **fields(token), top_logprobs=[response_wire.TopLogprob(**fields(one)) for one in token.others]
            )
            for token in tokens
        ]
    )


OfferedIn = Literal["tools", "functions"] | None


class ChoiceWriter:
    """Writes one choice of an answer: the chunks of its events, or its message."""

    def __init__(
        self,
        head: Head,
        rendering: Rendering,
        *,
        index: int = 0,
        include_usage: bool = False,
        offered: OfferedIn = None,
    ) -> None:
        """Write chunks with this head, or the message, of the choice with this index.

        `include_usage`: a stream ends with its usage. `offered`: the field in which the request offers tools; if it is
        `functions`, a call is written as `function_call`.
        """
        self._head, self._rendering = head, rendering
        self._may_call, self._legacy_calls = offered is not None, offered == "functions"
        self._index = index
        self._calls = 0
        """The number of tool calls that began."""
        self._usage: msgspec.UnsetType | None = None if include_usage else msgspec.UNSET
        self._around: tuple[bytes, bytes] | None = None
        """The bytes before and after the text in a text chunk."""
        self._weighed: tuple[WeighedToken, ...] = ()
        """The tokens of the next text."""
        self.finished = False

    def opened(self) -> bytes:
        """Return the chunk with the role.

        Before a call it has no content, as with OpenAI: some clients take an empty text for the answer.
        """
        return self._chunk(response_wire.Delta(role="assistant", content=None if self._may_call else ""))

    def event(self, event: Event) -> bytes:
        """Return the chunks of an event."""
        match event:
            case Text():
                text, more = self._rendering.add_text(event.text)
                return (self._text(text) if text else b"") + self._chunks(more)
            case Weighed(tokens):
                self._weighed += tokens
                return b""
            case Finish():
                self.finished = True
                reason = self._reason(event.reason)
                return self._chunks(self._rendering.finish()) + self._chunk(response_wire.Delta(), reason)
            case Signed():
                return self._chunk(response_wire.Delta(extra_content=response_wire.ExtraContent.of(event.signature)))
            case _:
                return self._chunks(self._deltas(event))

    def _deltas(self, event: Event) -> list[response_wire.Delta]:
        """Return what an event adds, other than text."""
        match event:
            case Media() | WebImage() | Citation() | Document() | Withheld():
                return self._rendering.render(event)
            case Thought():
                return [response_wire.Delta(reasoning_content=event.text)]
            case CallStarted() | CallArguments():
                started = event if isinstance(event, CallStarted) else None
                self._calls += started is not None
                function = response_wire.CalledFunction(
                    name=started.name if started is not None else None,
                    arguments=event.text if isinstance(event, CallArguments) else "",
                )
                if self._legacy_calls:
                    return [response_wire.Delta(function_call=function)]
                call = response_wire.StreamedCall(
                    index=self._calls - 1,
                    id=started.id if started is not None else None,
                    type="function" if started is not None else None,
                    function=function,
                    extra_content=response_wire.ExtraContent.of(started.signature)
                    if started is not None and started.signature
                    else None,
                )
                return [response_wire.Delta(tool_calls=[call])]
            case Declined():
                return [response_wire.Delta(refusal=event.text)]
            case _:
                return []

    def _reason(self, reason: str) -> str:
        return "function_call" if self._legacy_calls and reason == "tool_calls" else reason

    def error(self, error: GatewayError) -> bytes:
        """Return the error that ends the stream."""
        return in_stream(error)

    def close(self, usage: Usage) -> bytes:
        """Return the end of the stream, after all choices."""
        shown = self._event(self._object([], usage_of(usage))) if self._usage is None else b""
        return shown + _DONE

    def choice(self, reply: Reply) -> response_wire.Choice:
        """Return the choice of a whole answer."""
        rendering = self._rendering
        deltas = [delta for piece in reply.pieces for delta in rendering.render(piece)] + rendering.finish()
        content = "".join(delta.content or "" for delta in deltas)
        calls = [
            response_wire.AnsweredCall(
                id=call.id,
                function=response_wire.CalledFunction(name=call.name, arguments=call.arguments),
                extra_content=response_wire.ExtraContent.of(call.signature) if call.signature else msgspec.UNSET,
            )
            for call in reply.calls
        ]
        message = response_wire.AnswerMessage(
            content=content if content or not (calls or reply.declined) else None,
            refusal=reply.declined or None,
            tool_calls=calls if calls and not self._legacy_calls else msgspec.UNSET,
            function_call=calls[0].function if calls and self._legacy_calls else msgspec.UNSET,
            reasoning_content=reply.thoughts or msgspec.UNSET,
            extra_content=response_wire.ExtraContent.of(reply.signature) if reply.about else msgspec.UNSET,
            annotations=[entry for delta in deltas for entry in delta.annotations or ()],
            images=[entry for delta in deltas for entry in delta.images or ()] or msgspec.UNSET,
            videos=[entry for delta in deltas for entry in delta.videos or ()] or msgspec.UNSET,
            audios=[entry for delta in deltas for entry in delta.audios or ()] or msgspec.UNSET,
            document=next((delta.document for delta in reversed(deltas) if delta.document), msgspec.UNSET),
        )
        return response_wire.Choice(
            index=self._index,
            message=message,
            logprobs=logprobs_of(reply.tokens),
            finish_reason=self._reason(reply.finish),
        )

    def _chunks(self, deltas: list[response_wire.Delta]) -> bytes:
        return b"".join(map(self._chunk, deltas))

    def _chunk(self, delta: response_wire.Delta, finish_reason: str | None = None) -> bytes:
        logprobs = None
        if self._weighed and (delta.content or finish_reason is not None):
            logprobs, self._weighed = logprobs_of(self._weighed), ()
        choice = response_wire.ChunkChoice(
            index=self._index, delta=delta, logprobs=logprobs, finish_reason=finish_reason
        )
        return self._event(self._object([choice], self._usage))

    def _object(
        self, choices: list[response_wire.ChunkChoice], usage: response_wire.Usage | msgspec.UnsetType | None
    ) -> response_wire.Chunk:
        head = self._head
        return response_wire.Chunk(id=head.id, created=head.created, model=head.model, choices=choices, usage=usage)

    def _text(self, text: str) -> bytes:
        """Return a text chunk; only the text is encoded, because most chunks of a stream are text."""
        if self._weighed:
            return self._chunk(response_wire.Delta(content=text))
        if self._around is None:
            before, _, after = self._chunk(response_wire.Delta(content=_PLACE)).partition(encode_json(_PLACE))
            self._around = before, after
        before, after = self._around
        return before + encode_json(text) + after

    @staticmethod
    def _event(chunk: response_wire.Chunk) -> bytes:
        return b"data: " + encode_json(chunk) + b"\n\n"


class CompletionWriter(ChoiceWriter):
    """Writes an answer with one choice, streamed or whole (an `AnswerWriter` of `protocol.http.operation`)."""

    def event(self, event: Event) -> bytes:
        """Return the chunks of an event, and the end of the stream after the last one."""
        data = super().event(event)
        return data + self.close(event.usage) if isinstance(event, Finish) else data

    def whole(self, reply: Reply) -> bytes:
        """Return the completion of a whole answer."""
        return _completion(self._head, [self.choice(reply)], reply.usage)


class ChoicesWriter:
    """Writes an answer with several choices, streamed or whole (an `AnswerWriter` of `protocol.http.operation`)."""

    def __init__(
        self,
        head: Head,
        renderings: Sequence[Rendering],
        *,
        include_usage: bool = False,
        offered: OfferedIn = None,
    ) -> None:
        """Write a choice for each rendering; the rest as `ChoiceWriter`."""
        self._head = head
        self._choices = [
            ChoiceWriter(head, rendering, index=index, include_usage=include_usage, offered=offered)
            for index, rendering in enumerate(renderings)
        ]
        self._usages: list[Usage] = []

    @property
    def finished(self) -> bool:
        """Whether all choices are complete."""
        return all(choice.finished for choice in self._choices)

    def opened(self) -> bytes:
        """Return a chunk with the role for each choice."""
        return b"".join(choice.opened() for choice in self._choices)

    def event(self, event: Numbered) -> bytes:
        """Return the chunks of an event of one choice, and the end of the stream after the last one."""
        choice = self._choices[event.index]
        if choice.finished:
            return b""
        data = choice.event(event.event)
        if event.usage is not None:
            self._usages.append(event.usage)
        return data + choice.close(sum(self._usages[1:], self._usages[0])) if self.finished else data

    def error(self, error: GatewayError) -> bytes:
        """Return the error that ends the stream."""
        return in_stream(error)

    def whole(self, reply: Replies) -> bytes:
        """Return the completion of a whole answer."""
        pairs = zip(self._choices, reply.replies, strict=True)
        return _completion(self._head, [choice.choice(one) for choice, one in pairs], reply.usage)


def _completion(head: Head, choices: list[response_wire.Choice], usage: Usage) -> bytes:
    return encode_json(
        response_wire.Completion(
            id=head.id, created=head.created, model=head.model, choices=choices, usage=usage_of(usage)
        )
    )
