"""Writes the site's frames. It shares no code with the web transport, which reads them. No I/O."""

import json
from typing import Any

import msgspec

from transports.web import wire

_STATUSES = {1003: 3, 1053: 8}
"""The status that comes with a code, if it is known; otherwise 13."""
PREFIX = (wire.FRAMES_PREFIX + "\n\n").encode()


class SiteDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document of an answer, as far as it has been written."""

    id: str
    title: str
    body: str = ""
    task: str = ""
    citations: list[Any] = []


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
    rich: dict[int, Any] = {}
    document: SiteDocument | None = None
    tool: str = ""
    """Name of the running tool."""
    seconds: float | None = None
    """Time of the answer, in epoch seconds."""
    card: bool = False
    """Whether the text is at the place of a card's text."""
    others: tuple[str, ...] = ()
    """Further candidates' texts."""
    model: tuple[str, str] | None = None
    """Id and name of the model that answers."""
    sources: list[Any] = []
    """Search sources, as they stand in a candidate's `[2][1]`."""
    exact: bool = False
    """Write in the site's own form: dense, except for the fields of rich content, which are in a dict."""


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character
        return json.dumps(value, separators=(",", ":"))
    return text


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
    if snapshot.card:
        fields |= {1: ["http://googleusercontent.com/card_content/0"], 22: [snapshot.text]}
    if snapshot.sources:
        fields[2] = [None, snapshot.sources]
    if snapshot.exact:
        fields[9] = "en"
    if snapshot.rich:
        dict_only = snapshot.exact
        fields[12] = layout(snapshot.rich, sparse=snapshot.sparse or dict_only, dense_until=0 if dict_only else 12)
    if snapshot.document is not None:
        fields[30] = [_document(snapshot.document, sparse=snapshot.sparse)]
    if snapshot.thoughts:
        fields[37] = [[snapshot.thoughts]]
    return layout(fields, sparse=snapshot.sparse)


def candidates(snapshot: Snapshot) -> list[Any]:
    """Return all candidates of an answer, the first one first."""
    others = [
        layout({0: f"{snapshot.rcid}{number}", 1: [text], 8: [2 if snapshot.complete else 1]}, sparse=snapshot.sparse)
        for number, text in enumerate(snapshot.others, 2)
    ]
    return [candidate(snapshot), *others]


def _document(document: SiteDocument, *, sparse: bool) -> list[Any]:
    """Lay a document out; its citations are in one of two places."""
    fields: dict[int, Any] = {0: document.id, 2: document.title, 4: document.body, 17: [document.body]}
    if document.task:
        fields[3] = document.task
    if document.citations:
        cited = layout({43: document.citations}, sparse=sparse)
        fields |= {5: cited} if sparse else {17: [document.body, cited]}
    return layout(fields, sparse=sparse, dense_until=5)


def answer(snapshot: Snapshot, *more: Any, first: bool = True) -> bytes:
    """Return a content frame; `more` parts are in the same frame, after the content or before it."""
    fields: dict[int, Any] = {1: [snapshot.cid, snapshot.rid], 4: candidates(snapshot)}
    if snapshot.tool:
        fields[6] = [None, [snapshot.tool]]
    if snapshot.model is not None:
        fields[39], fields[42] = snapshot.model
        if snapshot.exact:
            fields[43] = True
    if snapshot.context:
        fields[25] = snapshot.context
    if snapshot.seconds is not None:
        whole = int(snapshot.seconds)
        fields[27] = [[[None, None, None, [whole, int((snapshot.seconds - whole) * 1e9)]]]]
    content = ["wrb.fr", None, _json(layout(fields, sparse=snapshot.sparse))]
    return frame(content, *more) if first else frame(*more, content)


def inner(value: list[Any]) -> bytes:
    """Return a frame with another value at the place of an answer."""
    return frame(["wrb.fr", None, _json(value)])


def queued(number: int = 0) -> bytes:
    """Return a frame of a queued request; the first one has bookkeeping."""
    if number == 0:
        return frame(["wrb.fr", None, None, None, None, [4]], *_parts_of_bookkeeping(6669))
    return frame(["wrb.fr", None, None, None, None, [13]])


def error(code: int) -> bytes:
    """Return an error frame."""
    info = ["type.googleapis.com/assistant.boq.bard.application.BardErrorInfo", [code]]
    return frame(["wrb.fr", None, None, None, None, [_STATUSES.get(code, 13), None, [info]]])


def refused(token: str = "", account: str = "") -> bytes:
    """Return the body of HTTP 400; with a token, the answer to a call without a valid one. Source: "Codes"."""
    fresh = [{"48448350": ["xsrf", token, [account]]}] if token else []
    part = ["er", None, None, None, None, 400, None, None, None, 3, *([fresh] if fresh else [])]
    return PREFIX + frame(part, *_parts_of_bookkeeping(11)) + frame(["e", 4, None, None, 139])


def _parts_of_bookkeeping(milliseconds: int) -> list[list[Any]]:
    return [["di", milliseconds], ["af.httprm", milliseconds, "-3415673", 12]]


def bookkeeping(milliseconds: int) -> bytes:
    """Return a frame without content."""
    return frame(*_parts_of_bookkeeping(milliseconds))


def end(length: int) -> bytes:
    """Return the closing frame."""
    return frame(["e", 4, None, None, length])


def batch_part(rpc: str, payload: Any, status: int = 0, name: Any = "generic") -> list[Any]:
    """Return one call's part of a batch answer; a rejected one has a status in place of a payload."""
    if status:
        return ["wrb.fr", rpc, None, None, None, [status], name]
    return ["wrb.fr", rpc, _json(payload), None, None, None, name]


def batch(parts: list[list[Any]], *, apart: bool = False) -> bytes:
    """Return the body of a batch answer; `apart`: each part in a frame of its own, as the site does."""
    if not apart:
        return PREFIX + frame(*parts, ["di", 21]) + frame(["e", 4, None, None, 131])
    *early, last = parts
    frames = b"".join(frame(part) for part in early) + frame(last, *_parts_of_bookkeeping(47))
    return PREFIX + frames + frame(["e", 3 + len(parts), None, None, len(frames)])
