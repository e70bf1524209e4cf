"""Wire structs of the transcription API, with OpenAI's names."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from protocol.http.lenient import LenientDecoder


class TranscriptionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of `POST /audio/transcriptions` and `/audio/translations`, without the file and those ignored."""

    model: str | None = None
    language: Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9-]{1,15}\Z")] | None = None
    prompt: Annotated[str, Meta(max_length=4000)] | None = None
    """Words that may occur, or the end of the recording before."""
    response_format: str | None = None
    timestamp_granularities: Any = None
    stream: bool | None = None


TRANSCRIPTIONS = LenientDecoder(TranscriptionRequest)


class TranscriptUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of a transcript; estimates, without the sound."""

    type: Literal["tokens"] = "tokens"
    input_tokens: int
    output_tokens: int
    total_tokens: int


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """A whole transcript."""

    text: str
    usage: TranscriptUsage


class TranscriptDelta(msgspec.Struct, frozen=True, kw_only=True):
    """The next words of a streamed transcript."""

    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: str


class TranscriptDone(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a streamed transcript."""

    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: str
    usage: TranscriptUsage
