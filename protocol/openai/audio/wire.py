"""Wire structs of the transcription API, with OpenAI's names."""

from collections.abc import Sequence
from typing import Annotated, Literal

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
    timestamp_granularities: list[Literal["word", "segment"]] = []
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


class TranscribedWord(msgspec.Struct, frozen=True, kw_only=True):
    """A transcribed word; times are in seconds."""

    word: str
    start: float
    end: float


class TranscribedSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of a transcript or a part of one; the models do not tell what the last fields say."""

    id: int
    start: float
    end: float
    text: str
    seek: int = 0
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 1.0
    no_speech_prob: float = 0.0


class TranscribedDuration(msgspec.Struct, frozen=True, kw_only=True):
    """How long the recording is, up to the end of its last word."""

    type: Literal["duration"] = "duration"
    seconds: float


class VerboseTranscript(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole transcript with times."""

    task: Literal["transcribe"]
    language: str
    """A language code; empty: unknown."""
    duration: float
    text: str
    words: Sequence[TranscribedWord] | None = None
    segments: Sequence[TranscribedSegment] | None = None
    usage: TranscribedDuration
