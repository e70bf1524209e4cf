import json
import subprocess

import msgspec
import pytest

from protocol.model import SpokenForm, SpokenPart
from tests.conftest import ROOT
from transports.generate_content import sound_options as sound
from transports.generate_content import wire
from transports.generate_content.models import traits_of

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
FORM = SpokenForm(
    voice="Kore",
    speakers=(("Ann", "Puck"), ("Bob", "voice_17")),
    language="de-DE",
    parts=(SpokenPart(speaker="Ann", style="Whispering"), SpokenPart(), SpokenPart(speaker="Bob")),
)
TEXTS = ("Hello", "there", "Bob here", "the end")


def styled(**options):
    contents = [wire.Content(tuple(wire.ContentPart(text=text) for text in TEXTS), "user")]
    return sound.with_styles(contents, FORM, **options)


def test_google_s_own_types_accept_requests_to_speak_and_to_write_down():
    configs = [
        wire.GenerationConfig(response_modalities=("AUDIO",), speech_config=sound.speech_config(FORM)),
        wire.GenerationConfig(
            audio_transcription_config=wire.AudioTranscriptionConfig(("de-DE",), ("words",), word_timestamp=True)
        ),
    ]
    bodies = [
        wire.encode_request(wire.GenerateContentRequest(contents=styled(in_field=True), generation_config=config))
        for config in configs
    ]
    judged = subprocess.run(
        [PYTHON, ROOT / "tests" / "foreign" / "google_types.py"],
        input=json.dumps([("request", json.loads(body)) for body in bodies]),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert json.loads(judged.stdout) == [None, None], judged.stderr


def test_how_to_speak_is_in_a_field_or_before_the_text():
    (content,) = styled(in_field=True)
    assert [part.text for part in content.parts] == list(TEXTS)
    assert content.parts[0].speech_metadata == wire.SpeechStyle("Ann", "Whispering")
    (content,) = styled(in_field=False)
    assert [part.text for part in content.parts] == ["Whispering:\nAnn: Hello", "there", "Bob: Bob here", "the end"]
    assert [traits_of(f"gemini-{version}-tts").speech_styles for version in ("3.8-flash", "2.5-pro-preview")] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("mime", "rate"),
    [
        ("audio/L16;codec=pcm;rate=24000", 24_000),
        ("audio/l16; rate=16000; channels=1", 16_000),
        ("audio/pcm", 24_000),
        ("audio/wav", None),
        ("image/png", None),
    ],
)
def test_samples_have_a_rate_and_files_none(mime, rate):
    assert sound.rate_of(wire.Blob(mime)) == rate


def test_words_have_their_seconds():
    words = [wire.WordInfo("a", "0s", "0.25s"), wire.WordInfo("b", "0.25s", "1.500s"), wire.WordInfo("c", "", "x")]
    found = sound.words_of(wire.AudioTranscription(words=tuple(words)))
    assert [msgspec.structs.astuple(one) for one in found] == [("a", 0.0, 0.25), ("b", 0.25, 1.5), ("c", 0.0, 0.0)]
