import msgspec
import pytest

from transports.simulator.api import request_schema as schema
from transports.simulator.api import simulated_speech as speech
from transports.simulator.api.request_reader import decode
from transports.simulator.api.rpc_errors import ApiRefusal

MODEL = "gemini-3.8-flash-tts"


def asked(body, **config):
    body["generationConfig"] = {"responseModalities": ["AUDIO"]} | config
    return decode(msgspec.json.encode(body), schema.Request)


def test_a_tone_is_as_long_as_the_text_and_as_high_as_the_voice():
    kore = schema.SpeechOptions(voice_config=schema.Voice(voice="Kore"))
    short, long = speech.tone("x" * 10, kore), speech.tone("x" * 100, kore)
    assert (len(short), len(long)) == (2 * round(0.6 * speech.RATE), 2 * 6 * speech.RATE)
    assert long.startswith(short)
    assert speech.tone("x" * 10, schema.SpeechOptions()) != short
    assert b"".join(speech.pieces_of_tone(long)) == long
    assert speech.audio_tokens(long) == 6 * speech.TOKENS_PER_SECOND


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"responseModalities": ["TEXT", "AUDIO"]}, "TEXT, AUDIO"),
        ({"responseModalities": []}, "modalities"),
        ({"speechConfig": {"voiceConfig": {"voice": "Nobody"}}}, "Allowed voice names"),
        ({"speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {}}}}, "Allowed voice names"),
        ({"speechConfig": {"multiSpeakerVoiceConfig": {"speakerVoiceConfigs": []}}}, "exactly 2"),
        ({"responseMimeType": "application/json"}, "mime"),
    ],
)
def test_wrong_requests_are_refused(config, words):
    with pytest.raises(ApiRefusal, match=words):
        speech.check_speech(asked({"contents": [{"parts": [{"text": "x"}]}]}, **config), MODEL)


def test_a_transcript_needs_a_recording():
    with pytest.raises(ApiRefusal, match="recording"):
        speech.check_transcript(asked({"contents": [{"parts": [{"text": "x"}]}]}), "gemini-3.5-transcribe")


def test_words_have_times_where_they_are_wanted():
    timed = speech.transcription_of("one two", schema.TranscriptOptions(word_timestamp=True, language_codes=["de"]))
    assert (timed["languageCode"], timed["words"][1]) == (
        "de",
        {"word": "two", "startOffset": "0.4s", "endOffset": "0.8s"},
    )
    assert "words" not in speech.transcription_of("one", schema.TranscriptOptions())
