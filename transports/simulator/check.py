"""Holds requests against the wire protocol page, slot by slot: what departs from it is refused, with the reason.

The site gives no reasons; here they go to the judge's log (`/simulator/state`), the client sees only the status.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FIXED: dict[int, Any] = {
    6: [1],
    7: 1,
    10: 1,
    11: 0,
    17: [[0]],
    18: 0,
    27: 1,
    30: [4],
    41: [1],
    53: 0,
    61: [],
}
_FREE_SLOTS = frozenset({0, 1, 2, 19, 45, 49, 54, 55, 59, 68, 79, 80})
_TOOLS = (None, 1, 2, 11, 14, 20, 21)
_FRESH = ["", "", "", None, None, None, None, None, None, ""]


class Departure(Exception):
    """The request departs from the page; says where."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A StreamGenerate request, understood."""

    prompt: str
    temporary: bool
    tool: int | None
    cid: str
    request_uuid: str
    model_id: str | None
    capacity: int | None
    number: int | None


def require(condition: object, what: str) -> None:
    """Raise Departure unless the condition holds."""
    if not condition:
        raise Departure(what)


def common(headers: Mapping[str, str], query: Mapping[str, str], *, site: str, build: str, sid: str) -> None:
    """Check what both endpoints want: headers and query. Source: "Common request parts"."""
    content_type = headers.get("content-type")
    require(content_type == "application/x-www-form-urlencoded;charset=utf-8", "header Content-Type")
    require(headers.get("origin") == site, "header Origin")
    require(headers.get("referer") == f"{site}/", "header Referer")
    require(headers.get("x-same-domain") == "1", "header X-Same-Domain")
    require(query.get("bl") == build, "query bl")
    require(query.get("f.sid") == sid, "query f.sid")
    require(query.get("hl"), "query hl")
    require(query.get("rt") == "c", "query rt")
    require(re.fullmatch(r"\d{5,}", query.get("_reqid", "")), "query _reqid")


def form(fields: Mapping[str, str], access_token: str | None) -> Any:
    """Check the form's fields; return what `f.req` says."""
    expected = {"f.req"} if access_token is None else {"at", "f.req"}
    require(set(fields) == expected, "form fields")
    require(access_token is None or fields["at"] == access_token, "form at: stale")
    return _json(fields["f.req"], "form f.req")


def generate(request: Any, headers: Mapping[str, str], language: str) -> Ask:
    """Check StreamGenerate's slots and model headers."""
    require(_is_list(request, 2) and request[0] is None and isinstance(request[1], str), "f.req")
    slots = _json(request[1], "f.req inner")
    require(_is_list(slots, 81), "f.req inner: 81 slots")
    for index, value in enumerate(cast("list[Any]", slots)):
        wanted = _FIXED.get(index)
        require(index in _FREE_SLOTS or value == wanted, f"slot {index}")
    first = slots[0]
    require(_is_list(first, 7) and isinstance(first[0], str) and first[1:3] == [0, None], "slot 0")
    require(first[4:] == [None, None, 0], "slot 0")
    require(slots[1] == [language], "slot 1")
    require(slots[2] == _FRESH or (isinstance(slots[2], list) and len(cast("list[Any]", slots[2])) >= 3), "slot 2")
    require(slots[45] in (None, 1), "slot 45")
    require(slots[49] in _TOOLS, "slot 49")
    require(slots[68] in (1, 2), "slot 68")
    require(slots[80] in (1, 2), "slot 80")
    request_uuid = slots[59]
    require(isinstance(request_uuid, str) and _UUID.fullmatch(request_uuid), "slot 59")
    require(request_uuid == request_uuid.upper(), "slot 59: upper case")
    model = _model_header(headers, slots)
    require(headers.get("x-goog-ext-73010989-jspb") == "[0]", "header x-goog-ext-73010989-jspb")
    require(headers.get("x-goog-ext-73010990-jspb") == "[0,0,0]", "header x-goog-ext-73010990-jspb")
    echo = _json(headers.get("x-goog-ext-525005358-jspb", ""), "header x-goog-ext-525005358-jspb")
    require(echo == [request_uuid, 1], "header x-goog-ext-525005358-jspb")
    return Ask(
        prompt=first[0],
        temporary=slots[45] == 1,
        tool=slots[49],
        cid=slots[2][0],
        request_uuid=request_uuid,
        model_id=model[0],
        capacity=model[1],
        number=model[2],
    )


def batch(request: Any, headers: Mapping[str, str], query: Mapping[str, str]) -> list[tuple[str, Any]]:
    """Check a batch call; return its `(rpc id, payload)`."""
    require(_is_list(request, 1) and isinstance(request[0], list) and request[0], "f.req")
    calls: list[tuple[str, Any]] = []
    for call in request[0]:
        require(_is_list(call, 4) and call[2:] == [None, "generic"], "f.req: a call")
        require(isinstance(call[0], str) and isinstance(call[1], str), "f.req: a call")
        calls.append((call[0], _json(call[1], f"payload of {call[0]}")))
    require(query.get("rpcids") == ",".join(rpc for rpc, _ in calls), "query rpcids")
    require(query.get("source-path") == "/app", "query source-path")
    flags = _json(headers.get("x-goog-ext-525001261-jspb", ""), "header x-goog-ext-525001261-jspb")
    require(_is_list(flags, 17), "header x-goog-ext-525001261-jspb")
    require(flags[:16] == [1, *[None] * 7, [4, 5, 6, 8], *[None] * 7], "header x-goog-ext-525001261-jspb")
    require(isinstance(flags[16], str) and _UUID.fullmatch(flags[16]), "header x-goog-ext-525001261-jspb: uuid")
    return calls


def _model_header(headers: Mapping[str, str], slots: list[Any]) -> tuple[str | None, int | None, int | None]:
    text = headers.get("x-goog-ext-525001261-jspb")
    if text is None:
        return None, None, None
    where = "header x-goog-ext-525001261-jspb"
    decoded = _json(text, where)
    require(_is_list(decoded, 17) or _is_list(decoded, 18), where)
    model = cast("list[Any]", decoded)
    if len(model) == 18:  # a field-13 account
        require(model[11] is None, where)
        model = [*model[:11], *model[12:]]
    require(model[:4] == [1, None, None, None] and isinstance(model[4], str), where)
    require(model[5:11] == [None, None, 0, [4, 5, 6, 8], None, None], where)
    require(isinstance(model[11], int) and model[12:14] == [None, None], f"{where}: capacity")
    require(model[14] == slots[79], f"{where}: the model number is not slot 79's")
    require(model[15] == slots[80], f"{where}: the thinking is not slot 80's")
    require(isinstance(model[16], str) and _UUID.fullmatch(model[16]), f"{where}: uuid")
    return model[4], model[11], model[14]


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Departure(what) from None


def _is_list(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(cast("list[Any]", value)) == length
