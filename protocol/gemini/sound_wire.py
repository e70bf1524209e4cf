"""Wire structs of sound in requests, with Google's names."""

import msgspec


class SpeechText(msgspec.Struct, frozen=True):
    """Who speaks a text, and how."""

    speaker: str = ""
    style: str = ""


class VoiceName(msgspec.Struct, frozen=True, rename="camel"):
    """A voice of the API."""

    voice_name: str = ""


class VoiceFields(msgspec.Struct, frozen=True, rename="camel"):
    """A voice, by its name or another id."""

    prebuilt_voice_config: VoiceName = VoiceName()
    voice: str = ""

    @property
    def name(self) -> str:
        """The name or the id."""
        return self.voice or self.prebuilt_voice_config.voice_name


class SpeakerFields(msgspec.Struct, frozen=True, rename="camel"):
    """A speaker of a dialogue."""

    speaker: str = ""
    voice_config: VoiceFields = VoiceFields()


class DialogueFields(msgspec.Struct, frozen=True, rename="camel"):
    """The speakers of a dialogue."""

    speaker_voice_configs: list[SpeakerFields] = []


class SpeechFields(msgspec.Struct, frozen=True, rename="camel"):
    """The voices of an answer."""

    voice_config: VoiceFields | None = None
    multi_speaker_voice_config: DialogueFields | None = None
    language_code: str = ""


class TranscriptFields(msgspec.Struct, frozen=True, rename="camel"):
    """How speech is written down."""

    language_codes: list[str] = []
    custom_vocabulary: list[str] = []
    word_timestamp: bool = False
