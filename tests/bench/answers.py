"""The fake upstream's answers as ready HTTP bytes, and the words by which they are asked for and found again."""

from transports.simulator import batch, check, emit
from transports.simulator.accounts import Session
from transports.simulator.config import SimulatedAccount
from transports.web import wire

SHORT = "bench-short"
"""A prompt with this word gets one small answer in one piece."""
LONG = "bench-long"
"""Many cumulative frames, as fast as the reader takes them."""
PACED = "bench-paced"
"""The same frames, one every `PACE_SECONDS`."""
HOLD = "bench-hold"
"""One frame; then nothing until the reader leaves."""

FRAMES = 200
PACE_SECONDS = 0.02
FIRST_WORD = b"Lorem"
"""Stands in the first text of each answer, however it is wrapped."""
UPSTREAM_FRAME = b'"wrb.fr"'
"""Stands once in each of the upstream's frames."""
UPSTREAM_END = b'["e",4,'
"""Stands in the last of an answer's bytes."""

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
    """Return the answer to any batch call: status and activity, whichever was asked for."""
    session = Session(SimulatedAccount(psid="a", psidts="b"))
    asked = [(wire.RPC_STATUS, wire.STATUS_PAYLOAD), (wire.RPC_ACTIVITY, wire.ACTIVITY_PAYLOAD)]
    sent = [check.BatchCall(rpc=rpc, text=text, name="generic") for rpc, text in asked]
    answer = batch.answer(sent, batch.Context(session=session, now=0.0, exact=False))
    return _whole(b"application/json; charset=utf-8", answer)


def _frame(text: str, *, complete: bool) -> bytes:
    """Return a frame of an answer that the site keeps: it tells so at the end."""
    kept = {"complete": True, "context": "bench"} if complete else {}
    return emit.answer(emit.Snapshot(cid="c_bench", rid="r_bench", rcid="rc_bench", text=text, **kept))


def _text(frames: int) -> str:
    return "".join(f"Lorem ipsum dolor {number:05}" for number in range(frames))


def short() -> bytes:
    """Return a small answer, whole."""
    text = _text(4)
    body = emit.PREFIX + emit.bookkeeping(37) + _frame(text, complete=True) + emit.end(len(text))
    return _OK + _STREAM_HEAD + _chunk(body) + LAST_CHUNK


def long() -> list[bytes]:
    """Return an answer of many cumulative frames, each an HTTP chunk of its own."""
    frames = [_frame(_text(number), complete=number == FRAMES) for number in range(1, FRAMES + 1)]
    frames[0] = emit.PREFIX + frames[0]
    frames[-1] += emit.end(FRAMES)
    chunks = [_chunk(frame) for frame in frames]
    return [_OK + _STREAM_HEAD + chunks[0], *chunks[1:-1], chunks[-1] + LAST_CHUNK]


def hold() -> bytes:
    """Return the beginning of an answer."""
    return _OK + _STREAM_HEAD + _chunk(emit.PREFIX + _frame(_text(1), complete=False))
