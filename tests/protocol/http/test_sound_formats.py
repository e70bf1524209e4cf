import io
import struct
import wave

import miniaudio
import pytest

from protocol.http import sound_formats as sound
from protocol.model import Sound


def test_a_header_of_unknown_length_is_read_to_the_end_of_the_samples():
    encoder = sound.WavEncoder()
    data = encoder.encode(Sound(b"\1\0", 8000)) + encoder.encode(Sound(b"\2\0\3\0", 8000)) + encoder.end()
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        assert file.readframes(100) == b"\1\0\2\0\3\0"
    assert struct.unpack_from("<I", data, 4)[0] == 0xFFFF_FFFF


@pytest.mark.parametrize("size", [1, 3, 997, 4096, 100_000])
def test_mp3_is_the_same_wherever_the_samples_are_split(size):
    samples = bytes(range(256)) * 400

    def encoded(size):
        encoder = sound.Mp3Encoder()
        parts = [samples[at : at + size] for at in range(0, len(samples), size)]
        return b"".join([*(encoder.encode(Sound(one, 24_000)) for one in parts), encoder.end()])

    assert encoded(size) == encoded(len(samples))
    assert miniaudio.mp3_get_info(encoded(size)).sample_rate == 24_000


def test_mp3_is_missing_without_the_encoder(monkeypatch):
    monkeypatch.setattr(sound, "find_spec", lambda _name: None)
    sound.sound_formats.cache_clear()
    try:
        assert list(sound.sound_formats()) == ["wav", "pcm"]
    finally:
        sound.sound_formats.cache_clear()


def test_nothing_spoken_is_nothing_encoded():
    assert [encoder().end() for encoder in (sound.PcmEncoder, sound.WavEncoder, sound.Mp3Encoder)] == [b""] * 3
