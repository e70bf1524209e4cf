"""Encodes what is spoken, piece by piece, in the formats that clients ask for.

PCM and WAV need no package; MP3 needs `lameenc`, which the extra `speech` installs. The encoder runs in a thread.
"""

import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import anyio.to_thread
import msgspec

from protocol.http.stream import Steps
from protocol.model import Event, Finish, Served, Sound, UpstreamFailed

_UNKNOWN_LENGTH = 0xFFFF_FFFF
"""The length in the header of a stream: players read to the end."""
_CHANNELS, _BYTES = 1, 2
_BIT_RATES = 64
"""Kilobits per second of MP3: transparent for speech of one channel."""
_QUALITY = 2
"""Of LAME: 2 is the highest, 7 the fastest."""


class SoundEncoder(Protocol):
    """Encodes one stream of samples."""

    def encode(self, sound: Sound) -> bytes:
        """Return the bytes of the next samples, perhaps none."""
        ...

    def end(self) -> bytes:
        """Return the last bytes."""
        ...


class PcmEncoder:
    """Returns samples as they are: 16 bits in little-endian order, one channel."""

    def encode(self, sound: Sound) -> bytes:
        """As `SoundEncoder.encode`."""
        return sound.content

    def end(self) -> bytes:
        """As `SoundEncoder.end`."""
        return b""


class WavEncoder(PcmEncoder):
    """Returns samples after the header of a WAV file, which does not tell the length."""

    def __init__(self) -> None:
        """Begin without the header: the rate comes with the samples."""
        self._begun = False

    def encode(self, sound: Sound) -> bytes:
        """As `SoundEncoder.encode`."""
        before, self._begun = b"" if self._begun else wav_header(sound.rate), True
        return before + sound.content


def wav_header(rate: int) -> bytes:
    """Return the header of a WAV file of unknown length."""
    frame = _CHANNELS * _BYTES
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, _CHANNELS, rate, rate * frame, frame, 8 * _BYTES)
    riff = struct.pack("<4sI4s", b"RIFF", _UNKNOWN_LENGTH, b"WAVE")
    return riff + form + struct.pack("<4sI", b"data", _UNKNOWN_LENGTH)


class Mp3Encoder:
    """Encodes MP3 by LAME."""

    def __init__(self) -> None:
        """Begin without an encoder: the rate comes with the samples."""
        self._lame: Any = None
        self._rest = b""
        """The first byte of a sample whose second one has not come."""

    def encode(self, sound: Sound) -> bytes:
        """As `SoundEncoder.encode`."""
        if self._lame is None:
            self._lame = import_module("lameenc").Encoder()
            self._lame.set_bit_rate(_BIT_RATES)
            self._lame.set_in_sample_rate(sound.rate)
            self._lame.set_channels(_CHANNELS)
            self._lame.set_quality(_QUALITY)
        samples = self._rest + sound.content
        whole = len(samples) - len(samples) % _BYTES
        self._rest = samples[whole:]
        return bytes(self._lame.encode(samples[:whole])) if whole else b""

    def end(self) -> bytes:
        """As `SoundEncoder.end`."""
        return bytes(self._lame.flush()) if self._lame is not None else b""


class SoundFormat(msgspec.Struct, frozen=True):
    """A format of sound."""

    mime: bytes
    encoder: Callable[[], SoundEncoder]


@cache
def sound_formats() -> Mapping[str, SoundFormat]:
    """Return the formats that can be made here, by their names."""
    found = {"wav": SoundFormat(b"audio/wav", WavEncoder), "pcm": SoundFormat(b"audio/pcm", PcmEncoder)}
    return {"mp3": SoundFormat(b"audio/mpeg", Mp3Encoder)} | found if find_spec("lameenc") is not None else found


class SoundBytes(msgspec.Struct, frozen=True):
    """The next bytes of a file of sound."""

    data: bytes


class _EncodedSteps:
    """The steps of an answer, with encoded sound."""

    def __init__(self, steps: Steps[Event], encoder: SoundEncoder) -> None:
        self._steps, self._encoder = steps, encoder

    @property
    def served(self) -> Served:
        return self._steps.served

    async def __aiter__(self) -> AsyncIterator[Event | SoundBytes]:
        spoken = False
        async for step in self._steps:
            match step:
                case Sound():
                    spoken = True
                    yield SoundBytes(await anyio.to_thread.run_sync(self._encoder.encode, step))
                case Finish():
                    if not spoken:
                        raise UpstreamFailed("The model answered without speaking. Try again, or change the text.")
                    yield SoundBytes(await anyio.to_thread.run_sync(self._encoder.end))
                    yield step
                case _:
                    pass  # it says nothing that can be heard


@asynccontextmanager
async def encoded(
    exchange: AbstractAsyncContextManager[Steps[Event]], form: SoundFormat
) -> AsyncGenerator[Steps[Event | SoundBytes]]:
    """Open an exchange in which encoded bytes replace each `Sound`.

    Raises:
        UpstreamFailed: nothing was spoken; from the steps.

    """
    async with exchange as steps:
        yield _EncodedSteps(steps, form.encoder())
