"""Turns the events of one candidate into the parts of its content."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from protocol.gemini.candidate_wire import (
    AnswerCandidate,
    AnswerContent,
    AnsweredFunction,
    AnswerPart,
    ChosenToken,
    InlineData,
    LinkedFile,
    RunCode,
    RunResult,
    TokenProbabilities,
    TopTokens,
    TranscriptTimes,
)
from protocol.gemini.deliver import FetchedPicture
from protocol.gemini.grounding import Sources
from protocol.http.markdown import MarkdownText
from protocol.model import (
    CallArguments,
    CallStarted,
    Citation,
    CodeText,
    Consulted,
    Content,
    Declined,
    Event,
    Finish,
    Heard,
    Media,
    MediaKind,
    Signed,
    Sound,
    Text,
    Thought,
    Waiting,
    WebImage,
    Weighed,
    WeighedToken,
    Withheld,
    WorkStarted,
)

_REASONS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_SIGNATURE = "skip_thought_signature_validator"
"""Stands for the thoughts before a call, where the upstream does not sign them, as the site.

Google signs the first call of an answer, and clients warn where the signature is missing. Google's API accepts this one
for calls that it did not sign.
"""
_WITHIN_CALL = (CallArguments, Waiting, Thought, WorkStarted)
"""Events that do not end a call."""
_MIMES = {MediaKind.IMAGE: "image/png", MediaKind.VIDEO: "video/mp4", MediaKind.AUDIO: "audio/mpeg"}


class AnswerForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks of the form of its answer."""

    model: str
    thoughts: bool = False
    """Whether the answer has the thoughts."""
    is_enum: bool = False
    """Whether the answer is the bare text of a JSON string."""
    is_array: bool = False
    """Whether a stream is a JSON array and no SSE."""


class CandidateParts:
    """The parts of one candidate, event by event."""

    def __init__(self, form: AnswerForm, content: MarkdownText, index: int) -> None:
        """Return parts in this form; `content` writes the notices and links in them."""
        self._form, self._content, self._index = form, content, index
        self._sources = Sources()
        self._call: tuple[CallStarted, list[str]] | None = None
        """The call that is being written, and its arguments so far."""
        self._called = False
        """Whether a call was written."""
        self._quoted: list[str] = []
        """The JSON string of an enum's member so far."""
        self._signature = ""
        """The signature of the text, which the last part has."""
        self._weighed: tuple[WeighedToken, ...] = ()
        """The tokens of the next part."""
        self.declined = Declined("")
        """What the model says if it declines to answer."""
        self._begun = False
        """Whether a part of the answer was written."""

    def add(self, event: Event | FetchedPicture, placeholder: Callable[[Content], str]) -> Iterator[AnswerPart]:
        """Yield the parts that an event adds, after the call that it ends; `placeholder` stands for a file's bytes."""
        if self._call is not None and not isinstance(event, _WITHIN_CALL):
            (started, arguments), self._call = self._call, None
            args = msgspec.json.decode("".join(arguments) or "{}")
            call = AnsweredFunction(id=started.id, name=started.name, args=args)
            yield AnswerPart(
                function_call=call, thought_signature=started.signature or ("" if self._called else _SIGNATURE)
            )
            self._called = True
        match event:
            case CallStarted():
                self._call = event, []
            case CallArguments() if self._call is not None:
                self._call[1].append(event.text)
            case Weighed() | Citation() | Consulted() | Declined() | Signed():
                self._note(event)
            case Heard():
                yield AnswerPart(text="", audio_transcription=TranscriptTimes.of(event))
            case FetchedPicture() | Sound():
                data = placeholder(event.content)
                yield AnswerPart(inline_data=InlineData(mime_type=event.mime, data=data))
            case _:
                yield from self._content_parts(event)

    def _note(self, event: Weighed | Citation | Consulted | Declined | Signed) -> None:
        """Keep what an event tells about later parts, or about the answer."""
        match event:
            case Weighed():
                self._weighed += event.tokens
            case Declined():
                self.declined = event
            case Signed():
                self._signature = event.signature
            case _:
                self._sources.note(event)

    def _content_parts(self, event: Event) -> Iterator[AnswerPart]:
        """Yield the parts of text, code, links and thoughts that an event adds."""
        match event:
            case CodeText():
                self._sources.skip(self._content.add(event))
                code = RunCode(language=event.language, code=event.code) if event.code else None
                printed = None if event.code else RunResult(outcome=event.outcome, output=event.output)
                yield AnswerPart(executable_code=code, code_execution_result=printed)
            case Text() if self._form.is_enum:
                self._quoted.append(event.text)
            case Text() | WebImage() | Withheld():
                text = self._content.add(event)
                self._sources.say(text)
                yield from (AnswerPart(text=text),) if text else ()
            case Thought() if self._form.thoughts:
                yield AnswerPart(text=event.text, thought=True)
            case Media():
                url = self._content.sign(event)
                yield AnswerPart(file_data=LinkedFile(mime_type=_MIMES[event.ref.kind], file_uri=url))
            case Finish():
                yield from _signed("".join(self._quoted), self._signature)
            case _:
                pass

    def next(self, parts: Sequence[AnswerPart], reason: str | None = None, message: str = "") -> AnswerCandidate:
        """Return a candidate with its next parts."""
        self._begun = True
        weighed, self._weighed = self._weighed, ()
        return AnswerCandidate(
            content=AnswerContent(parts=[*parts] or [AnswerPart(text="")]),  # SDKs drop a chat whose chunk has no part
            finish_reason=reason,
            finish_message=self.declined.text or message or None,
            grounding_metadata=self._sources.metadata(self._content) if reason is not None else None,
            url_context_metadata=self._sources.opened() if reason is not None else None,
            logprobs_result=_probabilities(weighed) if weighed else None,
            index=self._index,
        )

    def last(self, parts: Sequence[AnswerPart], end: Finish) -> AnswerCandidate | None:
        """Return a candidate with its last parts, or None if the prompt was refused."""
        if end.reason == "content_filter" and not parts and not self._begun:
            withheld = AnswerCandidate(finish_reason=self.declined.reason, index=self._index)
            return withheld if self.declined.withheld else None
        if self.declined.text:
            return self.next([*parts, AnswerPart(text=self.declined.text)], _REASONS["content_filter"])
        return self.next(parts, end.upstream.reason or _REASONS[end.reason], end.upstream.message)


def _probabilities(tokens: Iterable[WeighedToken]) -> TokenProbabilities:
    def chosen(token: WeighedToken) -> ChosenToken:
        return ChosenToken(token=token.text, token_id=token.number, log_probability=token.logprob)

    return TokenProbabilities(
        chosen_candidates=[chosen(token) for token in tokens],
        top_candidates=[TopTokens([chosen(one) for one in token.others]) for token in tokens if token.others],
    )


def _signed(quoted: str, signature: str) -> Iterator[AnswerPart]:
    """Yield the last part of an answer, the member of an enum in JSON, unless there is neither that nor a signature."""
    member = msgspec.json.decode(quoted) if quoted else ""
    text = member if isinstance(member, str) else quoted
    if text or signature:
        yield AnswerPart(text=text, thought_signature=signature)


def joined(parts: Iterable[AnswerPart]) -> list[AnswerPart]:
    """Return parts with adjacent texts of the answer as one."""
    found: list[AnswerPart] = []
    for part in parts:
        before = found[-1] if found else None
        texts = before is not None and None not in (before.text, part.text) and before.audio_transcription is None
        if before is not None and texts and before.thought == part.thought:
            signature = part.thought_signature or before.thought_signature
            found[-1] = msgspec.structs.replace(part, text=f"{before.text}{part.text}", thought_signature=signature)
        else:
            found.append(part)
    return found
