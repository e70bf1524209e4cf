"""The fake upstream's answers as ready HTTP bytes, and the words that request and identify them."""

import json

from transports.simulator import batch, encode, request_checks
from transports.simulator.accounts import SimulatedSession
from transports.simulator.config import SimulatedAccount
from transports.web import wire

SHORT = "bench-short"
"""A prompt with this word gets one small answer in one piece."""
LONG = "bench-long"
"""`FRAMES` cumulative frames, as fast as the reader takes them."""
PACED = "bench-paced"
"""The same frames, one every `PACE_SECONDS`."""
HOLD = "bench-hold"
"""One frame; then nothing until the reader leaves."""
EMBED = "bench-embed"
"""A text whose embedding has `DIMENSIONS` numbers."""
PICTURE = "bench-picture"
"""A small answer with a picture, whose link leads to `PICTURE_BYTES`."""
LARGE = "bench-large"
"""The bytes of that picture in place of an answer: for the pass-through."""
MEGABYTE = {"ASCII": "bench-ascii", "Chinese": "bench-chinese", "emoji": "bench-emoji"}
"""Prompts that get an answer of a megabyte in cumulative frames, by what it is written in.

A number of frames may follow, as in `bench-ascii-500`: they hold this number of thousandths of the megabyte.
"""
FINE = "bench-fine"
"""Prompts that get an answer in cumulative frames, each a hundred bytes longer than the last; their number follows."""

FRAMES = 100
SHORT_FRAMES = 4
"""The chunks of a short answer of the official API, if it is streamed."""
DIMENSIONS = 768
PACE_SECONDS = 0.05
THOUSAND = 1000
"""The frames of a megabyte: each adds a kilobyte."""
PICTURE_BYTES = 5_000_000
PICTURE_PATH = b"/bench/picture.png"
WORD = b"Lorem"
"""Begins what each frame adds to the text. No piece of a client's stream ends inside it."""
UPSTREAM_FRAME = b'"wrb.fr"'
"""Stands once in each of the upstream's frames."""
UPSTREAM_END = b'["e",4,'
"""Stands in the last of an answer's bytes."""

_MOST_FRAMES = 10_000
_PIECES = {
    "ASCII": "Lorem" + " ipsum dolor sit amet" * 47 + "consectetur.",
    "Chinese": "Lorem" + "\u65e5\u6708\u5c71\u5ddd" * 83,
    "emoji": "Lorem" + "\U0001f600\U0001f680\U0001f30d" * 83,
    "fine": "Lorem" + " ipsum dolor sit amet" * 4 + " consectetu",
}
"""What each frame of a megabyte adds: about a thousand bytes, as UTF-8, or a hundred."""
_STREAM_HEAD = b"Content-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _whole(content_type: bytes, body: bytes) -> bytes:
    head = b"Content-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % content_type
    return _OK + head + _chunk(body) + LAST_CHUNK


def page() -> bytes:
    """Return the answer to `GET /app`."""
    keys = {
        wire.KEY_BUILD_LABEL: "boq_bench",
        wire.KEY_SESSION_ID: "-1",
        wire.KEY_LANGUAGE: "en",
        wire.KEY_PUSH_ID: "feeds/bench",
        wire.KEY_ACCESS_TOKEN: "AKbench:1",
    }
    data = ",".join(f'"{key}":"{value}"' for key, value in keys.items())
    html = f"<!doctype html><title>bench</title><script>window.WIZ_global_data = {{{data}}};</script>"
    return _whole(b"text/html; charset=utf-8", html.encode())


def calls() -> bytes:
    """Return the answer to any batch call: it holds the answers to all of them."""
    session = SimulatedSession(SimulatedAccount(psid="a", psidts="b"))
    asked = [
        (wire.RPC_STATUS, wire.STATUS_PAYLOAD),
        (wire.RPC_ACTIVITY, wire.ACTIVITY_PAYLOAD),
        (wire.RPC_QUOTA, wire.QUOTA_PAYLOAD_PRO),
        (wire.RPC_DELETE, '["c_bench"]'),
    ]
    sent = [request_checks.BatchCall(rpc=rpc, text=text, name="generic") for rpc, text in asked]
    answer = batch.answer(sent, batch.BatchContext(session=session, now=0.0, exact=False))
    return _whole(b"application/json; charset=utf-8", answer)


def _frame(text: str, *, complete: bool, rich: dict | None = None) -> bytes:
    """Return a frame of an answer that the site keeps: it tells so at the end."""
    kept = {"complete": True, "context": "bench"} if complete else {}
    return encode.answer(
        encode.Snapshot(cid="c_bench", rid="r_bench", rcid="rc_bench", text=text, rich=rich or {}, **kept)
    )


def text_of(frames: int) -> str:
    """Return the text that `count` frames hold."""
    return "".join(f"Lorem ipsum dolor {number:05}" for number in range(frames))


SHORT_TEXT = text_of(SHORT_FRAMES)


def short() -> bytes:
    """Return a small answer, whole."""
    text = SHORT_TEXT
    body = encode.PREFIX + encode.bookkeeping(37) + _frame(text, complete=True) + encode.end(len(text))
    return _OK + _STREAM_HEAD + _chunk(body) + LAST_CHUNK


def long() -> list[bytes]:
    """Return an answer of many cumulative frames, each an HTTP chunk of its own."""
    frames = [_frame(text_of(number), complete=number == FRAMES) for number in range(1, FRAMES + 1)]
    frames[0] = encode.PREFIX + frames[0]
    frames[-1] += encode.end(FRAMES)
    chunks = [_chunk(frame) for frame in frames]
    return [_OK + _STREAM_HEAD + chunks[0], *chunks[1:-1], chunks[-1] + LAST_CHUNK]


def _delta(number: int, *, last: bool) -> dict:
    """Return a chunk of the official API, which holds only what is new."""
    reason = {"finishReason": "STOP"} if last else {}
    content = {"role": "model", "parts": [{"text": text_of(number + 1)[len(text_of(number)) :]}]}
    counts = {"promptTokenCount": 4, "candidatesTokenCount": 8, "totalTokenCount": 12}
    return {
        "candidates": [{"content": content, "index": 0, **reason}],
        "usageMetadata": counts,
        "modelVersion": "gemini-bench",
        "responseId": "bench",
    }


def official_short() -> bytes:
    """Return the official API's answer that is like `short`."""
    answer = _delta(0, last=True)
    answer["candidates"][0]["content"]["parts"][0]["text"] = SHORT_TEXT
    return _whole(b"application/json; charset=UTF-8", json.dumps(answer).encode())


def official_stream(frames: int) -> list[bytes]:
    """Return the official API's stream that is like `long`, in this number of chunks."""
    deltas = (json.dumps(_delta(number, last=number == frames - 1)) for number in range(frames))
    chunks = [_chunk(f"data: {delta}\r\n\r\n".encode()) for delta in deltas]
    head = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [_OK + head + chunks[0], *chunks[1:-1], chunks[-1] + LAST_CHUNK]


def official_models() -> bytes:
    """Return the official API's list of models."""
    models = [{"name": f"models/{name}"} for name in ("gemini-pro-latest", "gemini-embedding-2")]
    return _whole(b"application/json; charset=UTF-8", json.dumps({"models": models}).encode())


def official_embedding() -> bytes:
    """Return the official API's embedding of one text."""
    answer = {"embeddings": [{"values": [(number - 384) / 7777 for number in range(DIMENSIONS)]}]}
    return _whole(b"application/json; charset=UTF-8", json.dumps(answer).encode())


def hold() -> bytes:
    """Return the beginning of an answer."""
    return _OK + _STREAM_HEAD + _chunk(encode.PREFIX + _frame(text_of(1), complete=False))


def picture(origin: str) -> bytes:
    """Return an answer with a picture that is at `PICTURE_PATH` of `origin`."""
    shown = [[None, None, None, [None, None, "bench", origin + PICTURE_PATH.decode()]], ["bench"]]
    frame = _frame(SHORT_TEXT, complete=True, rich={7: [[shown]]})
    return _OK + _STREAM_HEAD + _chunk(encode.PREFIX + frame + encode.end(1)) + LAST_CHUNK


def large() -> bytes:
    """Return bytes that only begin like a picture."""
    data = b"\x89PNG\r\n\x1a\n" + b"Lorem" + bytes(PICTURE_BYTES - 13)
    head = b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(data)
    return _OK + head + data


class Megabyte:
    """An answer of a megabyte; its frames are cut from one text when they are sent."""

    _MARK = "bench-text"

    def __init__(self, kind: str) -> None:
        piece = _PIECES[kind]
        frame = encode.answer(encode.Snapshot(cid="c_bench", rid="r_bench", rcid="rc_bench", text=self._MARK))
        length, _, body = frame.partition(b"\n")
        self._before, self._after = (b"\n" + body).split(self._MARK.encode())
        self._units = int(length) - len(self._MARK)
        self._piece_units = len(piece.encode("utf-16-le")) // 2
        self._piece_bytes = len(piece.encode())
        self._text = memoryview(piece.encode() * (_MOST_FRAMES if kind == "fine" else THOUSAND))

    def frame(self, number: int) -> list[bytes | memoryview]:
        """Return the parts of the frame that ends with piece `number`, from 1, as one HTTP chunk."""
        text = self._text[: number * self._piece_bytes]
        head = (
            (encode.PREFIX if number == 1 else b"") + b"%d" % (self._units + number * self._piece_units) + self._before
        )
        size = len(head) + len(text) + len(self._after)
        begin = (_OK + _STREAM_HEAD if number == 1 else b"") + b"%x\r\n" % size
        return [begin + head, text, self._after + b"\r\n"]

    def end(self, number: int) -> bytes:
        """Return what comes behind the last frame: the answer once more, complete."""
        text = self._text[: number * self._piece_bytes].tobytes().decode()
        return _chunk(_frame(text, complete=True) + encode.end(number)) + LAST_CHUNK
