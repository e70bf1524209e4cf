import typing

import pytest
from openai.types.audio import speech_create_params

from protocol.model import BadRequest
from protocol.openai.audio.voices import GEMINI_VOICES, VOICES, voice_of
from transports.simulator.api import simulated_speech


def test_each_voice_of_openai_s_sdk_has_its_own_of_gemini():
    literals = [one for one in typing.get_args(speech_create_params.Voice) if typing.get_origin(one) is typing.Literal]
    named = {name for one in literals for name in typing.get_args(one)}
    assert named
    assert named <= VOICES.keys()
    assert len(set(VOICES.values())) == len(VOICES)
    assert set(VOICES.values()) <= set(GEMINI_VOICES)


def test_the_voices_are_those_of_the_simulated_api():
    assert sorted(one.lower() for one in GEMINI_VOICES) == sorted(simulated_speech._VOICES)


def test_names_are_read_in_any_case():
    assert [voice_of(name) for name in ("Alloy", "kore", "ZEPHYR")] == [VOICES["alloy"], "Kore", "Zephyr"]
    with pytest.raises(BadRequest, match=r"alloy.*Zubenelgenubi"):
        voice_of("siri")
