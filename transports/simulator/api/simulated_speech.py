"""Simulated models for sound: one speaks a tone whose length follows the text, one writes down what it does not hear.

Source: "Files, caching, embeddings, speech".
"""

import base64
import math
from array import array
from collections.abc import Iterator
from typing import Any

from transports.simulator.api import request_schema as schema
from transports.simulator.api.rpc_errors import invalid

RATE = 24_000
TOKENS_PER_SECOND = 25
_SECONDS_PER_CHARACTER = 0.06
_LEAST_SECONDS, _MOST_SECONDS = 0.3, 600.0
_LOUDNESS = 8000
_PIECE = RATE
"""Bytes of a chunk: half a second."""
_VOICES = (
    "achernar", "achird", "algenib", "algieba", "alnilam", "aoede", "autonoe", "callirrhoe", "charon", "despina",
    "enceladus", "erinome", "fenrir", "gacrux", "iapetus", "kore", "laomedeia", "leda", "orus", "puck", "pulcherrima",
    "rasalgethi", "sadachbia", "sadaltager", "schedar", "sulafat", "umbriel", "vindemiatrix", "zephyr",
    "zubenelgenubi",
)  # fmt: skip
_SPEAKERS = 2


def check_speech(request: schema.Request, model: str) -> None:
    """Check a request to a model that speaks.

    Raises:
        ApiRefusal: it asks for something else, or for a voice that does not exist.

    """
    options = request.generation_config
    if options.response_modalities != ["AUDIO"]:
        asked = ", ".join(options.response_modalities or ["TEXT"])
        raise invalid(
            f"The requested combination of response modalities ({asked}) is not supported by the model. "
            f"models/{model} accepts the following combination of response modalities:\n* AUDIO\n"
        )
    if request.system_instruction is not None:
        raise invalid(f"Developer instruction is not enabled for models/{model}")
    if len(request.contents) > 1:
        raise invalid(f"Multiturn chat is not enabled for models/{model}")
    if request.tools or options.response_mime_type not in {"", "text/plain"}:
        raise invalid(f"Function calling and response mime types are not enabled for models/{model}")
    parts = request.contents[0].parts
    if not all(part.text for part in parts):
        raise invalid(f"models/{model} takes texts, none of them empty.")
    check_voices(options.speech_config or schema.SpeechOptions(), parts)


def check_voices(options: schema.SpeechOptions, parts: list[schema.SentPart]) -> None:
    """Check the names of voices and speakers."""
    dialogue = options.multi_speaker_voice_config
    if dialogue is not None and options.voice_config is not None:
        raise invalid("Only one of voice_config and multi_speaker_voice_config can be set.")
    speakers = dialogue.speaker_voice_configs if dialogue is not None else []
    if dialogue is not None and len(speakers) != _SPEAKERS:
        raise invalid("Multi-speaker synthesis needs exactly 2 speaker voice configs.")
    for voice in (options.voice_config, *(one.voice_config for one in speakers)):
        name = voice_name(voice)
        if voice is not None and name not in _VOICES:
            raise invalid(f"Voice name {name} is not supported. Allowed voice names are: {', '.join(_VOICES)}")
    names = {one.speaker for one in speakers}
    for part in parts:
        if part.speech_metadata is not None and part.speech_metadata.speaker not in {"", *names}:
            raise invalid(f"Speaker {part.speech_metadata.speaker} has no voice config.")


def voice_name(voice: schema.Voice | None) -> str:
    """Return the name of a voice in lower case."""
    if voice is None:
        return ""
    prebuilt = voice.prebuilt_voice_config
    return (voice.voice or (prebuilt.voice_name if prebuilt is not None else "")).lower()


def tone(text: str, options: schema.SpeechOptions) -> bytes:
    """Return a tone in place of a spoken text: samples of 16 bits at `RATE`; each voice has its own pitch."""
    seconds = min(max(len(text) * _SECONDS_PER_CHARACTER, _LEAST_SECONDS), _MOST_SECONDS)
    name = voice_name(options.voice_config)
    period = 80 + (_VOICES.index(name) if name in _VOICES else 0)
    wave = array("h", (round(_LOUDNESS * math.sin(2 * math.pi * at / period)) for at in range(period))).tobytes()
    length = 2 * round(seconds * RATE)
    return (wave * (length // len(wave) + 1))[:length]


def pieces_of_tone(sound: bytes) -> Iterator[bytes]:
    """Yield a tone in the chunks of a stream."""
    yield from (sound[start : start + _PIECE] for start in range(0, len(sound), _PIECE))


def sound_json(sound: bytes) -> dict[str, Any]:
    """Return a tone as a part of the answer."""
    data = base64.b64encode(sound).decode()
    return {"inlineData": {"mimeType": f"audio/L16;codec=pcm;rate={RATE}", "data": data}}


def audio_tokens(sound: bytes) -> int:
    """Return the tokens of a tone."""
    return math.ceil(len(sound) / 2 / RATE * TOKENS_PER_SECOND)


def check_transcript(request: schema.Request, model: str) -> None:
    """Check a request to a model that writes down speech; raise ApiRefusal if it has no recording."""
    parts = [part for message in request.contents for part in message.parts]
    mimes = [file.mime_type for part in parts if (file := part.inline_data or part.file_data) is not None]
    if not any((mime or "").startswith(("audio/", "video/")) for mime in mimes):
        raise invalid(f"models/{model} needs a recording.")
    if request.system_instruction is not None or request.tools:
        raise invalid(f"Developer instruction and tools are not enabled for models/{model}")


def words_said(request: schema.Request) -> str:
    """Return what the recording is said to contain: the simulator does not listen, so its vocabulary tells."""
    options = request.generation_config.audio_transcription_config
    told = " ".join(options.custom_vocabulary) if options is not None else ""
    return told or "These are (simulated) words of a recording."


def transcription_of(text: str, options: schema.TranscriptOptions) -> dict[str, Any]:
    """Return the transcript with the times of its words, 0.4 s each."""
    language = (options.language_codes or ["en-US"])[0]
    timed = [
        {"word": word, "startOffset": f"{at * 0.4:g}s", "endOffset": f"{(at + 1) * 0.4:g}s"}
        for at, word in enumerate(text.split())
    ]
    return {"text": text, "languageCode": language} | ({"words": timed} if options.word_timestamp else {})
