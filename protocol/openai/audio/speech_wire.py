"""Wire structs of `POST /audio/speech`, with OpenAI's names."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.http.lenient import LenientDecoder

MOST_CHARACTERS = 32_000
"""The models read about 8,000 tokens; OpenAI's take 4,096 characters."""


class OwnVoice(msgspec.Struct, frozen=True):
    """A voice that a client has made at OpenAI."""

    id: str


class SpeechRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /audio/speech`, without fields that are ignored."""

    model: str
    input: str | None = None
    voice: str | OwnVoice | None = None
    instructions: Annotated[str, Meta(max_length=4096)] | None = None
    """How to speak, in words."""
    response_format: str | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None
    stream_format: Literal["audio", "sse"] | None = None


decode_speech = LenientDecoder(SpeechRequest).decode


class SpeechUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of an answer."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class SpeechDelta(msgspec.Struct, frozen=True, kw_only=True):
    """The next bytes of the file."""

    type: Literal["speech.audio.delta"] = "speech.audio.delta"
    audio: str
    """In base64."""


class SpeechDone(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a streamed file."""

    type: Literal["speech.audio.done"] = "speech.audio.done"
    usage: SpeechUsage
