"""Speech of the official API, with the unmodified `openai` SDK; what it makes is read by decoders of others."""

import base64
import io
import json
import wave

import httpx2 as httpx
import miniaudio
import openai
import pytest
from openai.types.audio import TranscriptionVerbose

from tests.openai_schemas import check

TEXT = "A text that is long enough for several pieces of sound. " * 4
RATE = 24_000
SECONDS = 0.06 * len(TEXT)
"""How long the simulator speaks: as long as the text."""


@pytest.fixture
def client(official_gateway):
    base_url, key = official_gateway.base_url, official_gateway.key
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        yield client


def post(gateway, **fields):
    body = {"model": "gpt-4o-mini-tts", "input": "Hello", "voice": "alloy", "response_format": "wav"} | fields
    headers = {"authorization": f"Bearer {gateway.key}"}
    return httpx.post(f"{gateway.base_url}/audio/speech", json=body, headers=headers)


@pytest.mark.parametrize("model", ["tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gemini-3.8-flash-tts"])
def test_wav_has_the_samples_of_the_api(client, model):
    made = client.audio.speech.create(model=model, voice="alloy", input=TEXT, response_format="wav")
    assert made.response.headers["content-type"] == "audio/wav"
    assert made.response.headers["x-gateway-transport"] == "api"
    assert made.response.headers["transfer-encoding"] == "chunked"
    with wave.open(io.BytesIO(made.content)) as sound:
        assert sound.getparams()[:3] == (1, 2, RATE)
        samples = sound.readframes(sound.getnframes())
    assert len(samples) / 2 / RATE == pytest.approx(SECONDS)
    pcm = client.audio.speech.create(model=model, voice="alloy", input=TEXT, response_format="pcm")
    assert (pcm.content, pcm.response.headers["content-type"]) == (samples, "audio/pcm")


def test_mp3_is_the_default_and_sounds_the_same(client):
    made = client.audio.speech.create(model="tts-1", voice="nova", input=TEXT)
    assert made.response.headers["content-type"] == "audio/mpeg"
    assert len(made.content) < 2 * RATE * SECONDS / 4
    heard = miniaudio.decode(made.content, nchannels=1, sample_rate=RATE)
    assert heard.duration == pytest.approx(SECONDS, abs=0.2)
    pcm = client.audio.speech.create(model="tts-1", voice="nova", input=TEXT, response_format="pcm").content
    loudest = max(memoryview(pcm).cast("h"))
    assert max(heard.samples[RATE : 2 * RATE]) == pytest.approx(loudest, rel=0.1)


def test_it_is_streamed_to_a_file(client, tmp_path):
    ask = client.audio.speech.with_streaming_response.create
    with ask(model="tts-1", voice="echo", input=TEXT, response_format="pcm") as streamed:
        pieces = list(streamed.iter_bytes(4096))
    assert len(b"".join(pieces)) == round(SECONDS * RATE) * 2
    with ask(model="tts-1", voice="echo", input="Hello") as streamed:
        streamed.stream_to_file(tmp_path / "speech.mp3")
    assert miniaudio.get_file_info(str(tmp_path / "speech.mp3")).sample_rate == RATE


async def test_it_is_streamed_to_an_asynchronous_client(official_gateway):
    async with openai.AsyncOpenAI(base_url=official_gateway.base_url, api_key=official_gateway.key) as client:
        ask = client.audio.speech.with_streaming_response.create
        async with ask(model="tts-1", voice="echo", input="Hello", response_format="pcm") as streamed:
            assert len(b"".join([piece async for piece in streamed.iter_bytes()])) == round(0.3 * RATE) * 2


def test_events_have_the_file_and_the_tokens(official_gateway):
    answer = post(official_gateway, input=TEXT, stream_format="sse")
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    *deltas, done = lines
    for line in deltas:
        check(line.encode(), dict, "SpeechAudioDeltaEvent")
    usage = check(done.encode(), dict, "SpeechAudioDoneEvent")["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["output_tokens"] >= SECONDS * 25
    sound = b"".join(base64.b64decode(json.loads(line)["audio"]) for line in deltas)
    assert sound[:4] == b"RIFF"
    assert sound[44:] == post(official_gateway, input=TEXT, response_format="pcm").content
    assert len(deltas) > 3


def test_each_voice_sounds_different_and_may_be_gemini_s(client):
    def spoken(voice):
        return client.audio.speech.create(model="tts-1", voice=voice, input="Hello", response_format="pcm").content

    assert spoken("alloy") == spoken("Kore") == spoken("kore") != spoken("onyx")
    assert spoken({"id": "alloy"}) == spoken("alloy")


def test_how_to_speak_reaches_the_model_and_is_not_spoken(official_gateway):
    plain = post(official_gateway, response_format="pcm")
    told = post(official_gateway, response_format="pcm", instructions="Whisper.", speed=1.5)
    assert (told.status_code, told.content) == (200, plain.content)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"voice": "nobody"}, "voice", "alloy"),
        ({"voice": "nobody"}, "voice", "Zubenelgenubi"),
        ({"response_format": "opus"}, "response_format", "mp3, wav, pcm"),
        ({"response_format": "aac"}, "response_format", "mp3, wav, pcm"),
        ({"response_format": "flac"}, "response_format", "mp3, wav, pcm"),
        ({"stream_format": "video"}, "stream_format", "sse"),
        ({"speed": 5}, "speed", "speed"),
        ({"input": " "}, "input", "empty"),
        ({"input": None}, "input", "empty"),
        ({"input": "x" * 32_001}, "input", "32000"),
        ({"model": "gemini-3.6-flash"}, "model", "gemini-3.8-flash-tts"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(official_gateway, fields, param, words):
    answer = post(official_gateway, **fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert words in error["message"]


def test_a_refusal_and_a_failure_are_answered_before_the_sound(official_gateway):
    refused = post(official_gateway, input='<sim refuse="safety"/>')
    assert (refused.status_code, "declined" in refused.json()["error"]["message"]) == (400, True)
    assert post(official_gateway, input='<sim http="500" once="speech"/> Hello').status_code == 200
    assert post(official_gateway, input='<sim http="500"/> Hello').status_code >= 500


def test_an_answer_that_breaks_off_is_never_taken_for_a_whole_one(official_gateway):
    with pytest.raises(httpx.RemoteProtocolError):
        post(official_gateway, input=f'<sim drop-after="2"/>{TEXT}', response_format="pcm")
    events = post(official_gateway, input=f'<sim drop-after="2"/>{TEXT}', stream_format="sse").text
    assert '"error"' in events.split("\n\n")[-2]


def test_a_model_that_speaks_does_not_chat(client):
    with pytest.raises(openai.NotFoundError, match="/v1/audio/speech"):
        client.chat.completions.create(model="tts-1", messages=[{"role": "user", "content": "x"}])
    assert {one.id: one for one in client.models.list()}["gemini-3.8-flash-tts"].model_extra["output_modalities"]


def silence():
    """Return a recording."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))
    return ("speech.wav", file.getvalue(), "audio/wav")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_speech_is_written_down_by_the_model_for_it_and_translated_by_another(client):
    recording = silence()
    hear = client.audio.transcriptions.create
    for model in ("whisper-1", "gpt-4o-transcribe", "gemini-3.6-flash"):
        said = hear(model=model, file=recording, prompt="<echo>guten Tag</echo>", language="de")
        assert (said.text, said.usage.type) == ("guten Tag", "tokens")
    events = list(hear(model="gpt-4o-transcribe", file=recording, prompt="<echo>one two</echo>", stream=True))
    assert events[-1].text == "one two"
    assert "simulated" in hear(model="whisper-1", file=recording).text
    translate = client.audio.translations.create
    assert translate(model="whisper-1", file=recording, prompt="<echo>good day</echo>").text == "good day"


@pytest.mark.parametrize(
    ("granularities", "words", "segments"),
    [(None, 0, 2), (["segment"], 0, 2), (["word"], 4, 0), (["word", "segment"], 4, 2)],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_transcript_has_the_times_of_words_and_segments(client, granularities, words, segments, stream):
    options = {"timestamp_granularities": granularities} if granularities else {}
    answer = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1",
        file=silence(),
        prompt="Good day. How goes?",
        language="de",
        response_format="verbose_json",
        extra_body={"stream": "true"} if stream else None,
        **options,
    )
    check(answer.content, TranscriptionVerbose, "CreateTranscriptionResponseVerboseJson")
    said = answer.parse()
    assert (said.text, said.language, said.duration) == ("Good day. How goes?", "de", pytest.approx(1.6))
    assert (len(said.words or ()), len(said.segments or ())) == (words, segments)
    if words:
        assert [(one.word, one.start) for one in said.words][1] == ("day.", pytest.approx(0.4))
    if segments:
        assert [(one.text, one.start, one.end) for one in said.segments] == [
            ("Good day.", 0.0, pytest.approx(0.8)),
            ("How goes?", pytest.approx(0.8), pytest.approx(1.6)),
        ]


def test_a_transcript_is_written_as_subtitles(client):
    def written(form):
        return client.audio.transcriptions.create(
            model="gemini-3.5-transcribe", file=silence(), prompt="One. Two <b>.", response_format=form
        )

    assert written("srt") == (
        "1\n00:00:00,000 --> 00:00:00,400\nOne.\n\n2\n00:00:00,400 --> 00:00:01,200\nTwo <b>.\n\n"
    )
    assert written("vtt").startswith("WEBVTT\n\n00:00:00.000 --> 00:00:00.400\nOne.\n\n")
    assert "Two &lt;b&gt;." in written("vtt")


def test_one_granularity_may_stand_for_a_list_of_one(official_gateway):
    answer = httpx.post(
        f"{official_gateway.base_url}/audio/transcriptions",
        data={"model": "whisper-1", "response_format": "verbose_json", "timestamp_granularities": "word"},
        files={"file": silence()},
        headers={"authorization": f"Bearer {official_gateway.key}"},
    )
    said = answer.json()
    assert len(said["words"]) == len(said["text"].split())
    assert "segments" not in said


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize("model", ["whisper-1", "gemini-3.6-flash"])
def test_a_chat_model_gives_no_times(client, model):
    ask = client.audio.translations if model == "whisper-1" else client.audio.transcriptions
    with pytest.raises(openai.BadRequestError, match="no times of words") as caught:
        ask.create(model=model, file=silence(), response_format="verbose_json")
    assert caught.value.param == "response_format"
