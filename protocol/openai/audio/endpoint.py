"""The endpoints `POST /audio/transcriptions` and `/audio/translations`: a chat model writes down what it hears."""

import re
from collections.abc import Collection
from functools import partial

import msgspec
from starlette.requests import Request

from protocol.http.body import encode_json
from protocol.http.context import RequestContext, caller_of
from protocol.http.files import FileField, take
from protocol.http.form import Upload, read_fields
from protocol.http.operation import Answer, Operation
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
    HeardForm,
    ModelUnknown,
    Reply,
    Role,
    Selection,
    Text,
    TextPart,
    Turn,
    Unsupported,
    Usage,
    fold,
)
from protocol.openai.audio import wire
from protocol.openai.audio.timed import timed_body
from protocol.openai.errors import in_stream

_FORMATS = ("json", "text")
_TIMED = ("verbose_json", "srt", "vtt")
"""Formats with times, which only models for transcripts give; they are never streamed, as at OpenAI."""
_OTHERS = ("whisper", "transcribe")
"""Parts of the names of OpenAI's models for this, in whose place a chat model answers."""
_ASK = (
    "{work} in the attached recording, word for word. Answer with these words only: no heading, no comment, no time "
    "stamps, no names of speakers."
)
_BREAK = re.compile(r"[,;\n]")
"""Between the phrases of a prompt."""
_MOST_PHRASES = 1000
_WRITE, _TRANSLATE = "Write down the speech", "Translate into English the speech"

Body = tuple[wire.TranscriptionRequest, Upload]


async def _read(request: Request) -> Body:
    body, files = await read_fields(request, wire.TRANSCRIPTIONS, ("file",))
    if len(files) != 1 or files[0].key != "file":
        raise BadRequest("Send one recording as the file 'file' of a form.", param="file")
    form = body.response_format or "json"
    if form not in {*_FORMATS, *_TIMED}:
        known = ", ".join((*_FORMATS, *_TIMED))
        message = f"This gateway does not write '{form}': 'response_format' must be one of: {known}."
        raise BadRequest(message, param="response_format", code="unsupported_value")
    if body.timestamp_granularities and form != "verbose_json":
        message = "'timestamp_granularities' needs the 'response_format' verbose_json."
        raise BadRequest(message, param="timestamp_granularities", code="unsupported_value")
    return body, files[0]


def model_that_hears(engine: Engine, work: str, body: Body, catalogue: Catalogue, caller: Caller) -> Selection:
    """Return the requested model; a chat model in place of one for transcripts that no transport offers.

    Models for transcripts do not translate.
    """
    name = body[0].model or _OTHERS[0]
    able = [
        one
        for one in catalogue.selections()
        if one.capability is Capability.CHAT and not (one.suffix or one.deprecated or one.model.guest)
    ]
    try:
        selection: Selection | None = catalogue.resolve(name)
    except ModelUnknown:
        if not any(part in name.lower() for part in _OTHERS):
            raise
        selection = None
    if selection is None or (
        selection.capability is Capability.TRANSCRIPTION and (work == _TRANSLATE or not engine.offers(selection))
    ):
        selection = next((one for one in able if caller.may_use(one)), able[0])
    if selection.model.guest or selection.capability not in {Capability.CHAT, Capability.TRANSCRIPTION}:
        names = ", ".join(one.id for one in able)
        raise Unsupported(f"The model '{selection.id}' transcribes nothing. Use one of: {names}.", param="model")
    return selection


async def _answer(
    work: str, engine: Engine, body: Body, selection: Selection, context: RequestContext
) -> Answer[Event, Reply]:
    fields, upload = body
    form = fields.response_format or "json"
    hears_only = selection.capability is Capability.TRANSCRIPTION
    if form in _TIMED and not hears_only:
        message = (
            f"'{selection.id}' answers here, which gives no times of words: 'response_format' must be one of: "
            f"{', '.join(_FORMATS)}. Models for transcripts give times; they need a key of the official API, and "
            "do not translate."
        )
        raise BadRequest(message, param="response_format", code="unsupported_value")
    streamed = bool(fields.stream) and form not in _TIMED
    sound = await take(upload.data, FileField(param="file", name=upload.name), context)
    if not sound.mime.startswith(("audio/", "video/")):
        raise BadRequest("The file is not a recording: send sound or a film.", param="file", code="unsupported_audio")
    sentences = [
        _ASK.format(work=work),
        f"The language spoken is {fields.language}." if fields.language else "",
        f"Words that may occur: {fields.prompt}" if fields.prompt else "",
    ]
    words = TextPart(text="\n\n".join(filter(None, sentences)))
    request = GenerationRequest(
        id=context.id,
        caller=caller_of(context),
        selection=selection,
        turns=(Turn(role=Role.USER, parts=(sound,) if hears_only else (sound, words)),),
        heard=heard_form(fields) if hears_only else None,
        streamed=streamed,
        attempts_before=context.attempts_before,
    )
    return Answer(
        request=request,
        exchange=engine.open(request),
        writer=TranscriptWriter(form, fields.timestamp_granularities),
        fold=fold,
        streamed=streamed,
        media_type=b"application/json" if form.endswith("json") else b"text/plain; charset=utf-8",
    )


def heard_form(fields: wire.TranscriptionRequest) -> HeardForm:
    """Return how a model that does nothing else writes speech down: it takes no sentences."""
    vocabulary = [one.strip() for one in _BREAK.split(fields.prompt or "")]
    return HeardForm(
        languages=(fields.language,) if fields.language else (),
        vocabulary=tuple(filter(None, vocabulary))[:_MOST_PHRASES],
        times=fields.response_format in _TIMED,
    )


def transcribe(engine: Engine) -> Operation[Body]:
    """Return the operation that writes down speech."""
    return _operation(engine, _WRITE)


def translate(engine: Engine) -> Operation[Body]:
    """Return the operation that writes down speech in English."""
    return _operation(engine, _TRANSLATE)


def _operation(engine: Engine, work: str) -> Operation[Body]:
    return Operation(
        read=_read,
        select=partial(model_that_hears, engine, work),
        answer=partial(_answer, work),
        own=(Capability.TRANSCRIPTION,),
    )


class TranscriptWriter:
    """Writes one transcript (an `AnswerWriter` of `protocol.http.operation`)."""

    def __init__(self, form: str, granularities: Collection[str]) -> None:
        """Write a whole transcript in a form, with the times of its words or segments if it is `verbose_json`."""
        self._form, self._granularities = form, granularities
        self._texts: list[str] = []
        self.finished = False

    def opened(self) -> bytes:
        """Return no bytes: the first event comes with the first words."""
        return b""

    def event(self, event: Event) -> bytes:
        """Return the bytes of an event."""
        if isinstance(event, Text):
            self._texts.append(event.text)
            return _line(wire.TranscriptDelta(delta=event.text))
        if isinstance(event, Finish):
            self.finished = True
            return _line(wire.TranscriptDone(text="".join(self._texts), usage=_usage(event.usage)))
        return b""

    def error(self, error: GatewayError) -> bytes:
        """Return the error that ends the stream."""
        return in_stream(error)

    def whole(self, reply: Reply) -> bytes:
        """Return the body of a whole answer."""
        if self._form in _TIMED:
            return timed_body(reply, self._form, self._granularities)
        text = reply.text.strip()
        if self._form == "text":
            return f"{text}\n".encode("utf-8", "replace")
        return encode_json(wire.Transcript(text=text, usage=_usage(reply.usage)))


def _line(event: msgspec.Struct) -> bytes:
    return b"data: " + encode_json(event) + b"\n\n"


def _usage(usage: Usage) -> wire.TranscriptUsage:
    total = usage.input_tokens + usage.output_tokens
    return wire.TranscriptUsage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, total_tokens=total)
