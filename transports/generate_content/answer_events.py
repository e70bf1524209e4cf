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
    Event,
    Finish,
    FinishReason,
    GatewayError,
    Media,
    Refused,
    Text,
    Thought,
    UpstreamFailed,
    Usage,
)
from transports.generate_content import wire
from transports.generate_content.errors import error_for

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


class ChunkReader:
    """Reads one answer."""

    def __init__(
        self,
        picture: Callable[[wire.Blob], Media | None],
        call_id: Callable[[], str],
        signed: Callable[[str, str], None] = lambda _id, _signature: None,
        names: Mapping[str, str] = {},
        meaning: Callable[[wire.RpcStatus], GatewayError] = lambda error: error_for(error.number, error),
    ) -> None:
        """Set functions for what the answer contains.

        `picture` keeps a file and returns its event, or None if it is left out. `call_id` makes the id of a call that
        has none. `signed` is called with the id of a call and its signature. `names` are the client's names of
        functions by those that the API knows. `meaning` returns what an error means.
        """
        self._picture, self._call_id, self._signed, self._names = picture, call_id, signed, names
        self._meaning = meaning
        self._text: list[str] = []
        self._calls, self._shown = 0, False
        self._ids: set[str] = set()
        self._usage = wire.UsageMetadata()
        self._reason = self._message = ""
        self._sources: list[wire.GroundingMetadata] = []
        self.model = ""
        """The model that answered, as the API names it; empty: not known yet."""
        self.chunks = 0

    def read(self, chunk: wire.GenerateContentResponse) -> list[Event]:
        """Return the events of the next chunk.

        Raises:
            Refused: the API blocks the prompt.
            GatewayError: the chunk is an error.

        """
        if chunk.error is not None:
            raise self._meaning(chunk.error)
        self.chunks += 1
        self.model = chunk.model_version or self.model
        if chunk.usage_metadata is not None:
            self._usage = chunk.usage_metadata
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            reason = chunk.prompt_feedback.block_reason
            raise Refused(f"The model refuses this prompt ({_readable(reason)}).", reason=reason)
        found: list[Event] = []
        for candidate in chunk.candidates[:1]:
            self._reason = candidate.finish_reason or self._reason
            self._message = candidate.finish_message or self._message
            if candidate.grounding_metadata is not None:
                self._sources.append(candidate.grounding_metadata)
            for part in candidate.content.parts if candidate.content is not None else ():
                found += self._events(part)
        if found and not self._shown:
            self._shown = not all(isinstance(event, Thought) for event in found)
        return found

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
            raise Refused(message, reason=self._reason, withheld=True)
        yield from self._citations()
        yield Finish(self._finish_reason(), self.usage)

    @property
    def complete(self) -> bool:
        """Whether the answer has come to its end."""
        return bool(self._reason)

    @property
    def usage(self) -> Usage:
        """The counts so far. Tokens of the API's own tools belong to the input, thoughts to the output."""
        counts = self._usage
        return Usage(
            input_tokens=counts.prompt_token_count + counts.tool_use_prompt_token_count,
            output_tokens=counts.candidates_token_count + counts.thoughts_token_count,
            reasoning_tokens=counts.thoughts_token_count,
            image_input_tokens=_image_tokens(counts.prompt_tokens_details),
            image_output_tokens=_image_tokens(counts.candidates_tokens_details),
            cached_tokens=counts.cached_content_token_count,
            exact=True,
        )

    def _finish_reason(self) -> FinishReason:
        if self._reason in _BLOCKED:
            return "content_filter"
        if self._reason == "MAX_TOKENS":
            return "length"
        return "tool_calls" if self._calls else "stop"

    def _events(self, part: wire.ContentPart) -> Sequence[Event]:
        match part:
            case wire.ContentPart(thought=True):  # pictures of thoughts are drafts
                return (Thought(part.text),) if part.text else ()
            case wire.ContentPart(text=str(text)) if text:
                shown = text
            case wire.ContentPart(function_call=wire.FunctionCall() as call):
                return self._call(call, part.thought_signature)
            case wire.ContentPart(inline_data=wire.Blob() as blob):
                picture = self._picture(blob)
                return (picture,) if picture is not None else ()
            case wire.ContentPart(executable_code=wire.ExecutableCode(code=code)):
                shown = _fenced("python", code)
            case wire.ContentPart(code_execution_result=wire.CodeExecutionResult(output=output)):
                shown = _fenced("", output)
            case _:
                return ()  # a kind of part that this gateway does not know, or only a signature
        self._text.append(shown)
        return (Text(shown),)

    def _call(self, call: wire.FunctionCall, signature: str) -> Sequence[Event]:
        call_id = call.id if call.id and call.id not in self._ids else self._call_id()
        self._ids.add(call_id)
        self._calls += 1
        if signature:
            self._signed(call_id, signature)
        started = CallStarted(id=call_id, name=self._names.get(call.name, call.name), signature=signature)
        return (started, CallArguments(msgspec.json.encode(call.args).decode()))

    def _citations(self) -> Iterator[Citation]:
        """Yield a citation for each section of the answer and each of its sources; what does not fit is left out."""
        text = "".join(self._text)
        for metadata in self._sources:
            chunks = metadata.grounding_chunks
            for support in metadata.grounding_supports:
                span = _span(text, support.segment)
                if span is None:
                    continue
                for index in support.grounding_chunk_indices:
                    source = chunks[index].source if 0 <= index < len(chunks) else None
                    if source is not None and source.uri.startswith(("https://", "http://")):
                        yield Citation(start=span[0], end=span[1], url=source.uri, title=source.title)


def _image_tokens(details: Iterable[wire.ModalityTokens]) -> int:
    return sum(one.token_count for one in details if one.modality == "IMAGE")


def new_call_ids(prefix: str) -> Callable[[], str]:
    """Return a function that makes ids, which begin with `prefix`."""
    numbers = count(1)
    return lambda: f"{prefix}{next(numbers)}"


def _span(text: str, segment: wire.Segment) -> tuple[int, int] | None:
    """Return the section's place in characters; the API counts bytes. None: its words stand nowhere, or twice."""
    encoded = text.encode("utf-8", "surrogatepass")
    before, inside = encoded[: segment.start_index], encoded[segment.start_index : segment.end_index]
    try:
        start, found = len(before.decode()), inside.decode()
    except UnicodeDecodeError:
        found, start = "", 0
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
