"""Turns the chunks of an answer into events.

Chunks are deltas. Finish reasons, sources and token counts come with the last one, the counts perhaps with every one.

Source: "GenerateContentResponse".
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count

import msgspec

from protocol.model import (
    CallArguments,
    CallMalformed,
    CallStarted,
    Citation,
    CodeText,
    Consulted,
    Event,
    Finish,
    FinishReason,
    GatewayError,
    Heard,
    Media,
    Modalities,
    Refused,
    Signed,
    Sound,
    Text,
    Thought,
    ToolChoice,
    UpstreamEnd,
    UpstreamFailed,
    Usage,
    Weighed,
    WeighedToken,
)
from transports.generate_content import wire
from transports.generate_content.api_names import changed_names
from transports.generate_content.errors import error_for
from transports.generate_content.sound_options import rate_of, words_of

_BLOCKED = frozenset(
    {
        *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "ESCALATION"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER", "NO_IMAGE"),
    }
)
"""Finish reasons of an answer that the API withholds, in part or as a whole."""
_MALFORMED = {
    "MALFORMED_FUNCTION_CALL": "the call cannot be read",
    "UNEXPECTED_TOOL_CALL": "it calls a tool that is not offered",
    "TOO_MANY_TOOL_CALLS": "it calls too many tools",
    "MALFORMED_RESPONSE": "the answer cannot be read",
}
"""Finish reasons of a call that went wrong, and what is wrong, in words for the model."""

_USUAL_NAMES = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_KNOWN_REASONS = _BLOCKED | _MALFORMED.keys() | {*_USUAL_NAMES.values(), "PUP_LIMITED_DISABLED", "CONTINUATION"}

_HIDDEN = (Thought, Signed, Weighed)
"""Events that clients may not show."""
_NO_NAMES: Mapping[str, str] = {}


class ChunkReader:
    """Reads one answer."""

    def __init__(
        self,
        picture: Callable[[wire.Blob], Media | None],
        call_id: Callable[[], str],
        signed: Callable[[str, str], None] = lambda _id, _signature: None,
        tools: ToolChoice | None = None,
        meaning: Callable[[wire.RpcStatus], GatewayError] = lambda error: error_for(error.number, error),
    ) -> None:
        """Set functions for what the answer contains.

        `picture` keeps a file and returns its event, or None if it is left out. `call_id` makes the id of a call that
        has none. `signed` is called with the id of a call and its signature. `tools` are the functions that the
        request offers. `meaning` returns what an error means.
        """
        self._picture, self._call_id, self._signed, self._meaning = picture, call_id, signed, meaning
        self._names = changed_names([tool.name for tool in tools.tools]) if tools is not None else _NO_NAMES
        self._single = tools is not None and not tools.parallel
        self._text: list[str] = []
        self._runs = [0]
        """Where texts begin, in the texts so far: at the beginning, and after parts of other kinds."""
        self._calls, self._shown = 0, False
        self._ids: set[str] = set()
        self._usage = wire.UsageMetadata()
        self._reason = self._message = ""
        self._noted: list[wire.Candidate] = []
        """The candidates with sources or addresses."""
        self.model = ""
        """The model that answered, as the API names it; empty: not known yet."""
        self.text_signature = ""
        """The signature of the text; empty: none has come."""
        self.chunks = 0

    def read(self, chunk: wire.GenerateContentResponse) -> list[Event]:
        """Return the events of the next chunk.

        Raises:
            Refused: the API blocks the prompt.
            GatewayError: the chunk is an error.

        """
        if chunk.error is not None or chunk.prompt_feedback is not None:
            self.refuse(chunk)
        self.chunks += 1
        self.model = chunk.model_version or self.model
        self._usage = chunk.usage_metadata or self._usage
        found: list[Event] = []
        for candidate in chunk.candidates[:1]:
            self._reason = candidate.finish_reason or self._reason
            self._message = candidate.finish_message or self._message
            if candidate.grounding_metadata is not None or candidate.url_context_metadata is not None:
                self._noted.append(candidate)
            for part in candidate.content.parts if candidate.content is not None else ():
                found += self._events(part)
            if candidate.logprobs_result is not None and self._text:
                found.insert(0, Weighed(tuple(weighed(candidate.logprobs_result))))
        if found and not self._shown:
            self._shown = not all(isinstance(event, _HIDDEN) for event in found)
        return found

    def refuse(self, chunk: wire.GenerateContentResponse) -> None:
        """Raise the error that a chunk is, or the refusal of the prompt."""
        if chunk.error is not None:
            raise self._meaning(chunk.error)
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            reason = chunk.prompt_feedback.block_reason
            self._usage = chunk.usage_metadata or self._usage
            message = f"The model refuses this prompt ({_readable(reason)})."
            raise Refused(message, reason=reason, usage=self.usage)

    def end(self) -> Iterator[Event]:
        """Yield the last events, when no chunk follows.

        Raises:
            Refused: the API withholds the whole answer.
            UpstreamFailed: the answer broke off.

        """
        problem = _MALFORMED.get(self._reason)
        if problem is not None:
            yield CallMalformed(text=self._message, problem=problem)
        elif not self._reason or self._reason == "MISSING_THOUGHT_SIGNATURE":
            raise UpstreamFailed("The upstream ended its answer too early.", code="upstream_reset")
        elif self._reason in _BLOCKED and not self._shown:
            message = f"The model declined to answer ({_readable(self._reason)})."
            raise Refused(message, reason=self._reason, withheld=True, usage=self.usage)
        if self._noted:
            yield from self._tools_used()
        reason = self._finish_reason()
        yield Finish(reason, self.usage, upstream=self._upstream_end(reason))

    @property
    def complete(self) -> bool:
        """Whether the answer has come to its end."""
        return bool(self._reason)

    @property
    def usage(self) -> Usage:
        """The counts so far. Tokens of the API's own tools belong to the input, thoughts to the output."""
        counts = self._usage
        sent, made = counts.prompt_tokens_details, counts.candidates_tokens_details
        return Usage(
            input_tokens=counts.prompt_token_count + counts.tool_use_prompt_token_count,
            output_tokens=counts.candidates_token_count + counts.thoughts_token_count,
            reasoning_tokens=counts.thoughts_token_count,
            cached_tokens=counts.cached_content_token_count,
            tool_tokens=counts.tool_use_prompt_token_count,
            input_modalities=_by_modality(sent) if sent else (),
            output_modalities=_by_modality(made) if made else (),
            exact=True,
        )

    def _finish_reason(self) -> FinishReason:
        if self._reason in _BLOCKED:
            return "content_filter"
        if self._reason == "MAX_TOKENS":
            return "length"
        return "tool_calls" if self._calls else "stop"

    def _upstream_end(self, reason: FinishReason) -> UpstreamEnd:
        known = self._reason if self._reason in _KNOWN_REASONS else "OTHER"
        return UpstreamEnd("" if known == _USUAL_NAMES[reason] else known, self._message)

    def _events(self, part: wire.ContentPart) -> Sequence[Event]:
        match part:
            case wire.ContentPart(thought=True):  # pictures of thoughts are drafts
                return (Thought(part.text),) if part.text else ()
            case wire.ContentPart(text=str(text)):
                return self._said(text, part)
            case wire.ContentPart(function_call=wire.FunctionCall() as call):
                return self._call(call, part.thought_signature)
            case wire.ContentPart(inline_data=wire.Blob() as blob):
                rate = rate_of(blob)
                found = self._picture(blob) if rate is None else Sound(blob.data, rate)
                return (found,) if found is not None else ()
            case wire.ContentPart(executable_code=wire.ExecutableCode(language=language, code=code)):
                ran = CodeText(text=_fenced(language.lower(), code), code=code, language=language)
            case wire.ContentPart(code_execution_result=wire.CodeExecutionResult(outcome=outcome, output=output)):
                ran = CodeText(text=_fenced("", output), output=output, outcome=outcome)
            case _:
                return ()  # a kind of part that this gateway does not know, or only a signature
        self._text.append(ran.text)
        self._runs.append(len(self._text))
        return (ran,)

    def _said(self, text: str, part: wire.ContentPart) -> Sequence[Event]:
        """Return a text with its signature, or with the times of its words."""
        self._text.append(text)
        self.text_signature = part.thought_signature or self.text_signature
        about: list[Event] = [Signed(part.thought_signature)] if part.thought_signature else []
        if part.audio_transcription is not None:
            words, language = words_of(part.audio_transcription), part.audio_transcription.language_code
            about += [Heard(words, language, text)] if words or language else []
        return (Text(text), *about) if text else about

    def _call(self, call: wire.FunctionCall, signature: str) -> Sequence[Event]:
        """Return a call; further ones are left out if the client wants a single one, which the API cannot be told."""
        if self._single and self._calls:
            return ()
        call_id = call.id if call.id and call.id not in self._ids else self._call_id()
        self._ids.add(call_id)
        self._calls += 1
        if signature:
            self._signed(call_id, signature)
        started = CallStarted(id=call_id, name=self._names.get(call.name, call.name), signature=signature)
        return (started, CallArguments(msgspec.json.encode(call.args).decode()))

    def _tools_used(self) -> Iterator[Consulted | Citation]:
        """Yield what was searched and opened, and a citation for each section of the answer and each of its sources.

        What does not fit is left out.
        """
        found = [one.grounding_metadata for one in self._noted if one.grounding_metadata is not None]
        lists = [one.url_context_metadata for one in self._noted if one.url_context_metadata is not None]
        opened = [page for one in lists for page in one.url_metadata]
        queries = tuple(query for one in found for query in one.web_search_queries)
        if queries or opened:
            yield Consulted(
                queries=queries,
                entry_point="".join(one.search_entry_point.rendered_content for one in found),
                pages=tuple((page.retrieved_url, page.url_retrieval_status) for page in opened),
            )
        text = "".join(self._text)
        runs = [len("".join(self._text[:number]).encode("utf-8", "surrogatepass")) for number in self._runs]
        for metadata in found:
            chunks = metadata.grounding_chunks
            for support in metadata.grounding_supports:
                span = _span(text, support.segment, runs)
                places = [index for index in support.grounding_chunk_indices if 0 <= index < len(chunks)]
                if span is not None:
                    yield from _cited(span, [chunks[index].source for index in places])


def weighed(result: wire.LogprobsResult) -> Iterator[WeighedToken]:
    """Yield the tokens of an answer, each with those that could stand in its place."""

    def token(one: wire.LogprobsCandidate, others: tuple[WeighedToken, ...] = ()) -> WeighedToken:
        return WeighedToken(text=one.token, logprob=one.log_probability, number=one.token_id, others=others)

    for place, one in enumerate(result.chosen_candidates):
        others = result.top_candidates[place].candidates if place < len(result.top_candidates) else ()
        yield token(one, tuple(map(token, others)))


def _cited(span: tuple[int, int], sources: Iterable[wire.GroundingSource | None]) -> Iterator[Citation]:
    """Yield a citation for each source with a web address."""
    for source in sources:
        if source is not None and source.uri.startswith(("https://", "http://")):
            yield Citation(start=span[0], end=span[1], url=source.uri, title=source.title)


def _by_modality(counts: Iterable[wire.ModalityTokens]) -> Modalities:
    return tuple((one.modality, one.token_count) for one in counts)


def new_call_ids(prefix: str) -> Callable[[], str]:
    """Return a function that makes ids, which begin with `prefix`."""
    numbers = count(1)
    return lambda: f"{prefix}{next(numbers)}"


def _span(text: str, segment: wire.Segment, runs: Sequence[int]) -> tuple[int, int] | None:
    """Return the section's place in characters; None: its words stand nowhere, or twice.

    The API counts bytes, from the beginning of the part that the section lies in. Where that part begins, `runs` has.
    """
    encoded = text.encode("utf-8", "surrogatepass")
    for first in runs if segment.text else runs[:1]:
        before, inside = encoded[: first + segment.start_index], encoded[first + segment.start_index :]
        try:
            start, found = len(before.decode()), inside[: segment.end_index - segment.start_index].decode()
        except UnicodeDecodeError:
            continue
        if found and (not segment.text or found == segment.text):
            return start, start + len(found)
    place = text.find(segment.text) if segment.text else -1
    if place < 0 or text.find(segment.text, place + 1) >= 0:
        return None
    return place, place + len(segment.text)


def _fenced(language: str, text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _readable(reason: str) -> str:
    return reason.lower().replace("_", " ")
