"""The endpoint `POST /audio/speech`: a model speaks a text."""

import binascii
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request

from protocol.http.always_streamed import PiecewiseWriter, unframed
from protocol.http.body import encode_json, read_json
from protocol.http.context import RequestContext, caller_of
from protocol.http.operation import Answer, Operation
from protocol.http.own_models import check_offered
from protocol.http.sound_formats import SoundBytes, SoundFormat, encoded, sound_formats
from protocol.http.stream import SSE
from protocol.model import (
    BadRequest,
    Caller,
    Capability,
    Catalogue,
    Engine,
    Event,
    Finish,
    GatewayError,
    GenerationRequest,
    Reply,
    Role,
    Selection,
    SpokenForm,
    SpokenPart,
    TextPart,
    Turn,
    Unsupported,
    fold,
)
from protocol.openai.audio import speech_wire as wire
from protocol.openai.audio.voices import voice_of
from protocol.openai.errors import in_stream

_PATH = "/audio/speech"
_DEFAULT_FORMAT = "mp3"
_USUAL_SPEED = 1.0


async def read_body(engine: Engine, request: Request) -> wire.SpeechRequest:
    """Read the body, if a transport offers a model that speaks."""
    check_offered(engine, Capability.SPEECH, _PATH)
    return await read_json(request, wire.decode_speech)


def model_that_speaks(body: wire.SpeechRequest, catalogue: Catalogue, _caller: Caller) -> Selection:
    """Return the requested model; raises Unsupported if it does not speak."""
    selection = catalogue.resolve(body.model)
    if selection.capability is not Capability.SPEECH:
        names = ", ".join(one.id for one in catalogue.selections() if one.capability is Capability.SPEECH)
        raise Unsupported(f"The model '{selection.id}' does not speak. Use one of: {names}.", param="model")
    return selection


def format_of(name: str | None) -> SoundFormat:
    """Return a format by its name.

    Raises:
        BadRequest: it cannot be made here; the message lists those that can.

    """
    formats = sound_formats()
    asked = (name or _DEFAULT_FORMAT).lower()
    if asked not in formats:
        known, missing = ", ".join(formats), ""
        if asked == _DEFAULT_FORMAT:
            missing = " MP3 needs an encoder, which `pip install 'gemini-gateway[speech]'` brings."
        message = f"This gateway does not make '{asked}': 'response_format' must be one of: {known}.{missing}"
        raise BadRequest(message, param="response_format", code="unsupported_value")
    return formats[asked]


def style_of(body: wire.SpeechRequest) -> str:
    """Return how the text is spoken, in words: the models have no number for the speed."""
    speed = body.speed or _USUAL_SPEED
    told = f"Speak at {speed:g} times the usual speed." if speed != _USUAL_SPEED else ""
    return " ".join(filter(None, ((body.instructions or "").strip(), told)))


async def speech_of(
    engine: Engine, body: wire.SpeechRequest, selection: Selection, context: RequestContext
) -> Answer[Any, Reply]:
    """Return the answer to a request."""
    text = body.input or ""
    if not text.strip():
        raise BadRequest("'input' is empty: send the text to speak.", param="input")
    if len(text) > wire.MOST_CHARACTERS:
        message = f"'input' has {len(text)} characters: send at most {wire.MOST_CHARACTERS} at once."
        raise BadRequest(message, param="input", code="string_above_max_length")
    form = format_of(body.response_format)
    voice = body.voice.id if isinstance(body.voice, wire.OwnVoice) else body.voice or ""
    spoken = SpokenForm(voice=voice_of(voice) if voice else "", parts=(SpokenPart(style=style_of(body)),))
    request = GenerationRequest(
        id=context.id,
        caller=caller_of(context),
        selection=selection,
        turns=(Turn(role=Role.USER, parts=(TextPart(text=text),)),),
        streamed=True,
        attempts_before=context.attempts_before,
        speech=spoken,
    )
    is_sse = body.stream_format == "sse"
    return Answer(
        request=request,
        exchange=encoded(engine.open(request), form),
        writer=SpeechEvents() if is_sse else SpeechFile(),
        fold=fold,
        streamed=True,
        framing=SSE if is_sse else unframed(form.mime),
    )


def speak(engine: Engine) -> Operation[wire.SpeechRequest]:
    """Return the operation, which is refused by name where no transport offers a model that speaks."""
    read = partial(read_body, engine)
    return Operation(read=read, select=model_that_speaks, answer=speech_of, own=(Capability.SPEECH,))


class SpeechFile(PiecewiseWriter):
    """Writes the bytes of the file."""

    def event(self, event: Event | SoundBytes) -> bytes:
        """Return the next bytes."""
        self.finished = isinstance(event, Finish)
        return event.data if isinstance(event, SoundBytes) else b""


class SpeechEvents(PiecewiseWriter):
    """Writes the file as server-sent events."""

    def event(self, event: Event | SoundBytes) -> bytes:
        """Return the event with the next bytes, or the last event."""
        if isinstance(event, SoundBytes) and event.data:
            return _line(wire.SpeechDelta(audio=binascii.b2a_base64(event.data, newline=False).decode()))
        if not isinstance(event, Finish):
            return b""
        self.finished = True
        sent, made = event.usage.input_tokens, event.usage.output_tokens
        usage = wire.SpeechUsage(input_tokens=sent, output_tokens=made, total_tokens=sent + made)
        return _line(wire.SpeechDone(usage=usage))

    def error(self, error: GatewayError) -> bytes:
        """Return the error that ends the stream."""
        return in_stream(error)


def _line(event: msgspec.Struct) -> bytes:
    return b"data: " + encode_json(event) + b"\n\n"
