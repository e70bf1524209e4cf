"""Options of requests to models that speak and that write down speech.

Models since 3.8 take the text as it is, and how to speak in a field of its own; earlier ones read that before the text.

Source: "Files, caching, embeddings, speech".
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

from protocol.model import Capability, GenerationRequest, HeardWord, SpokenForm, SpokenPart
from transports.generate_content import wire

_RATE = re.compile(r"rate=(\d{4,6})")
_USUAL_RATE = 24_000
_SPOKEN = ("audio/l16", "audio/pcm")


def with_sound(config: wire.GenerationConfig, request: GenerationRequest) -> wire.GenerationConfig:
    """Return options with those of sound, if the request is for a model that speaks or writes down speech."""
    if request.selection.capability is Capability.SPEECH:
        spoken = speech_config(request.speech or SpokenForm())
        return msgspec.structs.replace(config, response_modalities=("AUDIO",), speech_config=spoken)
    if request.selection.capability is Capability.TRANSCRIPTION and request.heard is not None:
        heard = request.heard
        asked = wire.AudioTranscriptionConfig(
            language_codes=heard.languages, custom_vocabulary=heard.vocabulary, word_timestamp=heard.times
        )
        if asked != wire.AudioTranscriptionConfig():
            return msgspec.structs.replace(config, audio_transcription_config=asked)
    return config


def speech_config(form: SpokenForm) -> wire.SpeechConfig | None:
    """Return the voices; None: the API chooses."""
    speakers = tuple(wire.SpeakerVoiceConfig(name, voice_config(voice)) for name, voice in form.speakers)
    found = wire.SpeechConfig(
        voice_config=voice_config(form.voice) if form.voice else None,
        multi_speaker_voice_config=wire.MultiSpeakerVoiceConfig(speakers) if speakers else None,
        language_code=form.language,
    )
    return found if found != wire.SpeechConfig() else None


def voice_config(name: str) -> wire.VoiceConfig:
    """Return a voice by its name, which has letters only, or by the id of a designed or copied one."""
    if name.isalpha():
        return wire.VoiceConfig(prebuilt_voice_config=wire.PrebuiltVoiceConfig(name))
    return wire.VoiceConfig(voice=name)


def with_styles(contents: Sequence[wire.Content], form: SpokenForm, *, in_field: bool) -> tuple[wire.Content, ...]:
    """Return the contents with the speaker and style of each text; `in_field`: in a field of its own."""
    styles = iter(form.parts)
    return tuple(
        msgspec.structs.replace(content, parts=tuple(_styled(content.parts, styles, in_field=in_field)))
        for content in contents
    )


def _styled(
    parts: Sequence[wire.ContentPart], styles: Iterator[SpokenPart], *, in_field: bool
) -> Iterator[wire.ContentPart]:
    for part in parts:
        form = next(styles, SpokenPart()) if part.text is not None else SpokenPart()
        if form == SpokenPart():
            yield part
        elif in_field:
            yield msgspec.structs.replace(part, speech_metadata=wire.SpeechStyle(form.speaker, form.style))
        else:
            said = f"{form.speaker}: {part.text}" if form.speaker else part.text
            yield wire.ContentPart(text=f"{form.style}:\n{said}" if form.style else said)


def rate_of(blob: wire.Blob) -> int | None:
    """Return the samples per second of what is spoken; None: it is another file."""
    mime = blob.mime_type.lower()
    if not mime.startswith(_SPOKEN):
        return None
    found = _RATE.search(mime)
    return int(found[1]) if found is not None else _USUAL_RATE


def words_of(transcription: wire.AudioTranscription) -> tuple[HeardWord, ...]:
    """Return the words of a transcript that have times."""
    return tuple(
        HeardWord(text=one.word, start=seconds_of(one.start_offset), end=seconds_of(one.end_offset))
        for one in transcription.words
    )


def seconds_of(offset: str) -> float:
    """Return an offset such as `1.4s` as a number; 0: it is none."""
    try:
        return max(0.0, float(offset.removesuffix("s") or 0))
    except ValueError:
        return 0.0
