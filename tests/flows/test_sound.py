"""Transcripts and variations of pictures, with the official `openai` SDK over a socket."""

import io
import wave

import openai
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


def recording():
    """Return a WAV file of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))
    return ("speech.wav", file.getvalue(), "audio/wav")


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-mini-transcribe", "gemini-3-pro"])
def test_speech_is_written_down(client, model):
    ask = client.audio.transcriptions.create
    said = ask(model=model, file=recording(), prompt="<echo>guten Tag</echo>", language="de")
    assert (said.text, said.usage.type) == ("guten Tag", "tokens")
    assert ask(model=model, file=recording(), prompt="<echo>hello</echo>", response_format="text") == "hello\n"


def test_a_transcript_is_streamed(client):
    events = list(
        client.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=recording(), prompt="<echo>one two</echo>", stream=True
        )
    )
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == "one two"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_speech_is_translated(client):
    assert client.audio.translations.create(model="whisper-1", file=recording(), prompt="<echo>good day</echo>").text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "verbose_json"}, "response_format"),
        ({"response_format": "srt"}, "response_format"),
        ({"response_format": "vtt"}, "response_format"),
        ({"response_format": "verbose_json", "timestamp_granularities": ["word"]}, "response_format"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        ({"model": "gemini-3-pro-imagen"}, "model"),
        ({"file": ("a.txt", b"words", "text/plain")}, "file"),
    ],
)
def test_what_no_model_does_is_refused_by_name(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(**{"model": "whisper-1", "file": recording()} | fields)
    assert caught.value.param == param


def test_speech_is_not_made_without_a_model_that_speaks(client):
    with pytest.raises(openai.NotFoundError, match=r"no model here speaks.*key of the official API"):
        client.audio.speech.create(model="tts-1", voice="alloy", input="x")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_picture_is_varied(client):
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "navy").save(file, "png")
    image = ("a.png", file.getvalue(), "image/png")
    varied = client.images.create_variation(image=image, n=2, response_format="b64_json")
    assert len([one.b64_json for one in varied.data if one.b64_json]) == 2
