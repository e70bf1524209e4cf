"""Writes the site's frames, with code of its own: what the web transport reads is not what wrote it. No I/O."""

import json
from typing import Any

import msgspec

from transports.web import wire

PREFIX = (wire.FRAMES_PREFIX + "\n\n").encode()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An answer so far."""

    cid: str
    rid: str
    rcid: str
    text: str = ""
    thoughts: str = ""
    complete: bool = False
    context: str = ""
    sparse: bool = False
    """High-numbered fields stand in a trailing dict."""


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if _encodable(text) else json.dumps(value, separators=(",", ":"))


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def frame(*parts: Any) -> bytes:
    """Return a frame of parts: its length in UTF-16 code units, newline, JSON, newline."""
    body = "\n" + _json(list(parts)) + "\n"
    units = len(body) + sum(ord(character) > 0xFFFF for character in body) if not body.isascii() else len(body)
    return f"{units}{body}".encode()


def layout(fields: dict[int, Any], *, sparse: bool, dense_until: int = 12) -> list[Any]:
    """Lay fields out as a JSPB array: all at their index, or those beyond `dense_until` in a trailing dict."""
    far = {index: value for index, value in fields.items() if sparse and index >= dense_until}
    near = {index: value for index, value in fields.items() if index not in far}
    array: list[Any] = [near.get(index) for index in range(max(near, default=-1) + 1)]
    return [*array, {str(index + 1): value for index, value in far.items()}] if far else array


def candidate(snapshot: Snapshot) -> list[Any]:
    """Return an answer's candidate, in the form that StreamGenerate and `hNvQHb` share."""
    fields: dict[int, Any] = {0: snapshot.rcid, 1: [snapshot.text], 8: [2 if snapshot.complete else 1]}
    if snapshot.thoughts:
        fields[37] = [[snapshot.thoughts]]
    return layout(fields, sparse=snapshot.sparse)


def answer(snapshot: Snapshot) -> bytes:
    """Return a content frame."""
    fields: dict[int, Any] = {1: [snapshot.cid, snapshot.rid], 4: [candidate(snapshot)]}
    if snapshot.context:
        fields[25] = snapshot.context
    inner = layout(fields, sparse=snapshot.sparse)
    return frame(["wrb.fr", None, _json(inner)])


def queued() -> bytes:
    """Return the frame of a request that still waits."""
    return frame(["wrb.fr", None, None, None, None, [3]])


def error(code: int) -> bytes:
    """Return an error frame."""
    info = ["type.googleapis.com/assistant.boq.bard.application.BardErrorInfo", [code]]
    return frame(["wrb.fr", None, None, None, None, [3, None, [info]]])


def bookkeeping(milliseconds: int) -> bytes:
    """Return a frame that says nothing."""
    return frame(["di", milliseconds], ["af.httprm", milliseconds, "-3415673", 12])


def end(length: int) -> bytes:
    """Return the closing frame."""
    return frame(["e", 4, None, None, length])


def batch(answers: list[tuple[str, Any]], rejected: frozenset[str] = frozenset()) -> bytes:
    """Return the body of a batch answer; a rejected call has no payload and says permission denied."""
    parts: list[Any] = [
        ["wrb.fr", rpc, None, None, None, [7], "generic"]
        if rpc in rejected
        else ["wrb.fr", rpc, _json(payload), None, None, None, "generic"]
        for rpc, payload in answers
    ]
    return PREFIX + frame(*parts, ["di", 21]) + frame(["e", 4, None, None, 131])
