"""A fake upstream that speaks OpenAI's API and Gemini's, for other gateways: the same texts in as many events.

What comes from OpenAI's API can be passed on as it is. What comes from Gemini's must be translated event by event, as
what comes from the site.
"""

import json
import re

import uvloop

from tests.bench import answers, upstream

_STREAM = re.compile(rb'"stream": ?true')
_GEMINI = re.compile(rb"^POST /v1beta/models/[^:]+:(stream)?")
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_BASE = {"id": "chatcmpl-bench", "created": 1_700_000_000, "model": "bench"}


def _chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(delta, finish=None):
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: %b\n\n" % json.dumps({**_BASE, "object": "chat.completion.chunk", "choices": choices}).encode()


def _events(frames):
    """Return a stream, each of whose events is an HTTP chunk of its own; the first and the last bring more."""
    pieces = [_event({"content": answers.text_of(frames)[23 * number :][:23]}) for number in range(frames)]
    pieces[0] = _event({"role": "assistant", "content": ""}) + pieces[0]
    pieces[-1] += _event({}, "stop") + b"data: [DONE]\n\n"
    chunks = [_chunk(piece) for piece in pieces]
    return [_HEAD + chunks[0], *chunks[1:-1], chunks[-1] + answers.LAST_CHUNK]


def _gemini(text, finish=None):
    """Return an answer, or one event of a stream, as Gemini's API writes it."""
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 4, "candidatesTokenCount": 23, "totalTokenCount": 27}
    return json.dumps({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "bench"}).encode()


def _gemini_events(frames):
    """Return a stream of Gemini's API, each of whose events is an HTTP chunk of its own."""
    texts = [answers.text_of(frames)[23 * number :][:23] for number in range(frames)]
    pieces = [_gemini(text) + b"\n,\r\n" for text in texts[:-1]] + [_gemini(texts[-1], "STOP") + b"\n]"]
    pieces[0] = b"[" + pieces[0]
    chunks = [_chunk(piece) for piece in pieces]
    head = _HEAD.replace(b"text/event-stream", b"application/json")
    return [head + chunks[0], *chunks[1:-1], chunks[-1] + answers.LAST_CHUNK]


def _plain(data):
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)


def _whole():
    choices = [
        {"index": 0, "message": {"role": "assistant", "content": answers.SHORT_TEXT}, "finish_reason": "stop"},
    ]
    usage = {"prompt_tokens": 4, "completion_tokens": 23, "total_tokens": 27}
    data = json.dumps({**_BASE, "object": "chat.completion", "choices": choices, "usage": usage}).encode()
    return _plain(data)


_WHOLE = _whole()
_SHORT, _HOLD = b"".join(_events(4)), _HEAD + _chunk(_event({"role": "assistant", "content": "Lorem"}))

_GEMINI_WHOLE = _plain(_gemini(answers.SHORT_TEXT, "STOP"))
_GEMINI_SHORT = b"".join(_gemini_events(4))
_GEMINI_HOLD = _gemini_events(4)[0]
_GEMINI_FRAMES = _gemini_events(answers.FRAMES)


class Connection(upstream.Connection):
    """One connection."""

    frames = _events(answers.FRAMES)

    def _answer(self, request):
        found = upstream.WORD.search(request, request.index(upstream.END_OF_HEAD))
        word = found[0] if found else b""
        gemini = _GEMINI.match(request)
        streamed = gemini[1] if gemini else _STREAM.search(request)
        short, whole, hold = (_GEMINI_SHORT, _GEMINI_WHOLE, _GEMINI_HOLD) if gemini else (_SHORT, _WHOLE, _HOLD)
        if gemini:
            self.frames = _GEMINI_FRAMES
        if word == answers.SHORT.encode():
            self._transport.write(short if streamed else whole)
        elif word == answers.HOLD.encode():
            self._transport.write(hold)
        elif word in {answers.LONG.encode(), answers.PACED.encode()}:
            self._frame(0, answers.PACE_SECONDS if word == answers.PACED.encode() else 0.0)
        else:
            self._transport.write(upstream.MISSING)


if __name__ == "__main__":
    uvloop.run(upstream.main(Connection))
