"""Reads how an answer is spoken, or speech is written down, for the models that do only that."""

from typing import Any

from protocol.gemini import sound_wire, wire
from protocol.model import BadRequest, Capability, HeardForm, Selection, SpokenForm, SpokenPart

_FIELD = "generationConfig.speechConfig"
_MODALITIES = "generationConfig.responseModalities"


def spoken_form(body: wire.GenerateRequest, selection: Selection) -> SpokenForm | None:
    """Return how the answer is spoken; None: the model does not speak.

    Raises:
        BadRequest: a field is wrong, or asks this model for something else than sound.

    """
    if selection.capability is not Capability.SPEECH:
        return None
    config = body.generation_config
    if [one.upper() for one in config.response_modalities] != ["AUDIO"]:
        message = f"'{selection.id}' speaks and does nothing else: '{_MODALITIES}' must be ['AUDIO']."
        raise BadRequest(message, param=_MODALITIES)
    fields = config.speech_config or sound_wire.SpeechFields()
    dialogue = fields.multi_speaker_voice_config
    if dialogue is not None and fields.voice_config is not None:
        message = f"'{_FIELD}' has one voice and several: leave 'voiceConfig' or 'multiSpeakerVoiceConfig' out."
        raise BadRequest(message, param=_FIELD)
    return SpokenForm(
        voice=fields.voice_config.name if fields.voice_config is not None else "",
        speakers=tuple((one.speaker, one.voice_config.name) for one in dialogue.speaker_voice_configs)
        if dialogue is not None
        else (),
        language=fields.language_code,
        parts=tuple(_part(part) for message in body.contents for part in _parts(message)),
    )


def heard_form(config: wire.GenerationConfig, selection: Selection) -> HeardForm | None:
    """Return how speech is written down; None: the model does more than that."""
    if selection.capability is not Capability.TRANSCRIPTION:
        return None
    fields = config.audio_transcription_config or sound_wire.TranscriptFields()
    return HeardForm(
        languages=tuple(fields.language_codes),
        vocabulary=tuple(fields.custom_vocabulary),
        times=fields.word_timestamp,
    )


def _parts(message: wire.GeminiContent | str) -> list[Any]:
    """Return the texts of a message."""
    parts: list[Any] = [message] if isinstance(message, str) else [*message.parts]
    return [one for one in parts if isinstance(one, str) or one.text is not None]


def _part(part: wire.ContentPart | str) -> SpokenPart:
    metadata = None if isinstance(part, str) else part.speech_metadata
    return SpokenPart(speaker=metadata.speaker, style=metadata.style) if metadata is not None else SpokenPart()
