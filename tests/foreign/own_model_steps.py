"""More steps, as those of `official_steps.py`: models that compute vectors, speak, or write down speech.

It runs in the same way, and its answers are compared by the same test.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the interpreter runs isolated

import official_steps
from google.genai import types
from official_steps import PIXEL, plain, refusal

VECTORS, SPEAKS, HEARS = "gemini-embedding-2", "gemini-3.8-flash-tts", "gemini-3.5-transcribe"
WAVE = b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\x08\0\0\0" + bytes(8)


def contents_of(*texts):
    """Return each text as a content: the SDK joins bare texts to one."""
    return [types.Content(role="user", parts=[types.Part(text=text)]) for text in texts]


def step_embeddings(world):
    def ask(contents, **config):
        answer = world.client.models.embed_content(model=VECTORS, contents=contents, config=config)
        values = [one.values for one in answer.embeddings]
        return [[len(one) for one in values], [one[:3] + one[-3:] for one in values], plain(answer.usage_metadata)]

    picture = types.Content(parts=[types.Part(text="one"), types.Part.from_bytes(data=PIXEL, mime_type="image/png")])
    found = [
        ask("the sea at night"),
        ask(["one", "content of two texts"]),
        ask(contents_of("the sea at night", "Grüße")),
        ask(contents_of(*(f"text {number}" for number in range(100))), output_dimensionality=256),
        ask("words", task_type="RETRIEVAL_DOCUMENT", title="A title", output_dimensionality=7),
        ask(picture),
    ]
    assert [one[0] for one in found] == [[3072], [3072], [3072] * 2, [256] * 100, [7], [3072]], found
    wrong = ({"task_type": "x"}, {"output_dimensionality": 0}, {"title": "a title without its task"})
    refusals = [refusal(lambda config=config: ask("x", **config)) for config in wrong]
    refusals += [refusal(lambda: ask("")), refusal(lambda: ask(contents_of(*"x" * 101)))]
    refusals.append(refusal(lambda: world.client.models.embed_content(model=world.model, contents="x")))
    listed = world.client.models.get(model=VECTORS).supported_actions
    return found, refusals, listed, [one.name for one in world.client.models.list() if "embedding" in one.name]


def spoken(answer):
    """Return what an answer or a stream says of its sound: the length, the type and the beginning."""
    parts = [part for one in answer for part in one.candidates[0].content.parts or ()]
    sound = b"".join(part.inline_data.data for part in parts if part.inline_data)
    kinds = sorted({part.inline_data.mime_type for part in parts if part.inline_data})
    usage = answer[-1].usage_metadata
    last = answer[-1].candidates[0].finish_reason.value
    return [len(sound), kinds, sound[:40].hex(), last, usage.prompt_token_count, usage.candidates_token_count]


def step_speech(world):
    voice = types.VoiceConfig(prebuilt_voice_config=types.PrebuiltVoiceConfig(voice_name="Kore"))
    speakers = [types.SpeakerVoiceConfig(speaker=name, voice_config=voice) for name in ("Ann", "Bob")]

    def ask(contents, model=SPEAKS, **config):
        asked = {"response_modalities": ["AUDIO"]} | config
        return [world.client.models.generate_content(model=model, contents=contents, config=asked)]

    voices = types.MultiSpeakerVoiceConfig(speaker_voice_configs=speakers)
    dialogue = types.SpeechConfig(multi_speaker_voice_config=voices)
    lines = [
        types.Part(text=text, speech_metadata=types.SpeechMetadata(speaker=name, style="whispering"))
        for name, text in (("Ann", "Hello Bob"), ("Bob", "Hello Ann"))
    ]
    chosen = {"response_modalities": ["AUDIO"], "speech_config": types.SpeechConfig(voice_config=voice)}
    stream = world.client.models.generate_content_stream(model=SPEAKS, contents="A long text. " * 20, config=chosen)
    found = [
        spoken(ask("Hello")),
        spoken(ask("Hello", speech_config="Puck")),
        spoken(ask(lines, speech_config=dialogue)),
        spoken(ask("Hello", model="gemini-3.8-flash-lite-tts", temperature=0.5)),
        spoken(list(stream)),
    ]
    assert len({one[2] for one in found}) > 1, found
    assert all(one[1] == ["audio/L16;codec=pcm;rate=24000"] for one in found), found
    stranger = types.Part(text="Hello", speech_metadata=types.SpeechMetadata(speaker="Eve"))
    refusals = [
        refusal(lambda: ask("Hello", speech_config="Nobody")),
        refusal(lambda: ask("Hello", model=world.model)),
        refusal(lambda: ask("Hello", response_modalities=["TEXT"])),
        refusal(lambda: ask("Hello", response_modalities=[])),
        refusal(lambda: ask("Hello", system_instruction="Be kind.")),
        refusal(lambda: ask(["Hello", types.Content(role="model", parts=[types.Part(text="Hi")]), "You"])),
        refusal(lambda: ask([stranger], speech_config=dialogue)),
    ]
    return found, refusals, [one.name for one in world.client.models.list() if "tts" in one.name]


def step_transcript(world):
    def ask(*parts, **config):
        answer = world.client.models.generate_content(model=HEARS, contents=list(parts), config=config)
        heard = [plain(part.audio_transcription) for part in answer.candidates[0].content.parts]
        return answer.text, heard, answer.usage_metadata.prompt_token_count

    def streamed(**config):
        stream = world.client.models.generate_content_stream(model=HEARS, contents=[sound], config=config)
        parts = [part for one in stream for part in one.candidates[0].content.parts or ()]
        heard = [part.audio_transcription for part in parts if part.audio_transcription]
        words = [plain(word) for one in heard for word in one.words or ()]
        return "".join(part.text for part in parts), words, {one.language_code for one in heard} == {"de-DE"}

    sound = types.Part.from_bytes(data=WAVE, mime_type="audio/wav")
    words = types.AudioTranscriptionConfig(custom_vocabulary=["<echo>guten Tag</echo>"], language_codes=["de-DE"])
    timed = words.model_copy(update={"word_timestamp": True})
    found = [ask(sound, audio_transcription_config=one) for one in (None, words, timed)]
    assert len(found[2][1][0]["words"]) == 2, found
    return found, streamed(audio_transcription_config=timed), refusal(lambda: ask(types.Part(text="x")))


if __name__ == "__main__":
    official_steps.main(globals(), *sys.argv[1:])
