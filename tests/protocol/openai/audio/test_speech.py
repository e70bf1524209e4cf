import pytest

from protocol.http import sound_formats
from protocol.model import BadRequest
from protocol.openai.audio.speech import format_of, style_of
from protocol.openai.audio.speech_wire import SpeechRequest


def test_without_the_encoder_the_default_is_refused_with_what_there_is(monkeypatch):
    monkeypatch.setattr(sound_formats, "find_spec", lambda _name: None)
    sound_formats.sound_formats.cache_clear()
    try:
        with pytest.raises(BadRequest, match=r"one of: wav, pcm\. MP3 needs .*gemini-gateway\[speech\]") as refused:
            format_of(None)
        assert refused.value.param == "response_format"
        assert format_of("WAV").mime == b"audio/wav"
    finally:
        sound_formats.sound_formats.cache_clear()


@pytest.mark.parametrize(
    ("fields", "style"),
    [
        ({}, ""),
        ({"speed": 1}, ""),
        ({"instructions": " Whisper. "}, "Whisper."),
        ({"instructions": "Whisper.", "speed": 0.5}, "Whisper. Speak at 0.5 times the usual speed."),
    ],
)
def test_instructions_and_speed_are_words_for_the_model(fields, style):
    assert style_of(SpeechRequest(model="tts-1", **fields)) == style
