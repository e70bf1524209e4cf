"""The two profiles of the simulated site: what each requires of requests beyond what both share, and how it answers.

`Rules` is the profile `site`: it refuses only what the site is known to refuse, so that any client can be tested.
`StrictRules` is the profile `strict`: it requires the form that the protocol page names for this gateway's own client.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from starlette.requests import Request

from transports.simulator.accounts import SimulatedSession
from transports.simulator.media import spellings_of
from transports.simulator.models import DEFAULT, of_plan, serving
from transports.simulator.request_checks import (
    BatchCall,
    Departure,
    PageRequest,
    TurnRequest,
    decoded,
    is_list,
    is_number,
    is_uuid,
    require,
    same,
)
from transports.web import wire

Pairs = list[tuple[str, str]]
UploadStep = Literal["whole", "start", "finish"]

_QUERY = frozenset({"bl", "f.sid", "hl", "_reqid", "rt"})
_BATCH_QUERY = _QUERY | {"rpcids", "source-path"}
_FIXED: dict[int, Any] = {
    6: [1],
    7: 1,
    10: 1,
    11: 0,
    18: 0,
    27: 1,
    30: [4],
    41: [1],
    53: 0,
    61: [],
}
_SLOTS = 81
_FREE_SLOTS = frozenset({0, 1, 2, 17, 19, 45, 49, 54, 55, 59, 67, 68, 79, 80})
_TOOLS = (None, 1, 2, 11, 14, 20, 21)
_RESEARCH, _VIDEO = 1, 11
_ASPECTS = (16, 17)
_FRESH = ["", "", "", None, None, None, None, None, None, ""]
_PICTURE = [None, None, None, [None, None, None, None, None, ""]]


_TEXT = str
"""Matches any text in a payload's pattern."""
_PAYLOADS: dict[str, tuple[Any, ...]] = {
    "otAQ7b": ([],),
    "jSf9Qc": ([],),
    "ESY5D": ([[["bard_activity_enabled"]]],),
    "MaZiqc": ([13, None, [1, None, 1]], [13, None, [0, None, 1]]),
    "hNvQHb": ([_TEXT, 10, None, 1, [1], [4], None, 1],),
    "GzXR5e": ([_TEXT],),
    "qpEbW": ([[[1, 11], [2, 11], [6, 11]]], [[[1, 4], [6, 6], [1, 15]]]),
    "CNgdBe": ([2, ["en"], 0], [3, ["en"], 0]),
    "c8o8Fe": (
        [
            [_PICTURE, [_TEXT, 0], None, [19, ""], None, None, None, None, None, ""],
            [_TEXT, _TEXT, _TEXT, None, ""],
            1,
            0,
            1,
        ],
    ),
}
"""The payloads that the gateway's client sends to each RPC."""


class Rules:
    """The profile `site`: refuses only what the site is known to refuse."""

    exact = True
    """Answer in the site's own form; otherwise alternate between the forms that a decoder must read."""
    words_decide = True
    """Whether a plain turn whose words ask for a picture, film or song is answered with one."""
    cookie_every = 1
    """Every n-th answer sets a cookie unless the settings say otherwise; 0: none does."""

    def call(self, headers: Mapping[str, str], query: Pairs, page: PageRequest, *, batch: bool) -> None:
        """Check a call's headers and query."""

    def form(self, pairs: Pairs, *, guest: bool, lost: bool) -> None:
        """Check a form's fields."""

    def generate(self, request: Any, slots: list[Any], headers: Mapping[str, str], language: str) -> None:
        """Check a turn's slots and model header."""

    def batch(
        self, calls: list[BatchCall], headers: Mapping[str, str], query: Mapping[str, str], page: PageRequest
    ) -> None:
        """Check a batch's calls."""

    def rotation(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> tuple[str, int] | None:
        """Return why a rotation is refused, and the status."""
        _ = headers, cookies
        return None

    def upload(self, request: Request, push_id: str, step: UploadStep) -> str:
        """Return why an upload's request is refused, or nothing."""
        _ = request, push_id, step
        return ""

    def can_continue(self, ask: TurnRequest, *, guest: bool) -> bool:
        """Return whether a turn may continue the conversation that it names."""
        _ = ask, guest
        return True

    def family(self, session: SimulatedSession, ask: TurnRequest) -> str | int:
        """Return the family that answers a turn, or the code that it is refused with."""
        if ask.model_id == "":
            return wire.CODE_MODEL_HEADER
        family = serving(session.plan, ask.model_id)
        return wire.CODE_MODEL_HEADER if family is None else family

    def files_refused(self) -> int:
        """Return the code that a turn with an attachment that does not exist is refused with.

        Raises:
            Departure: it is refused with HTTP 400.

        """
        return 1100


class StrictRules(Rules):
    """The profile `strict`."""

    exact = False
    words_decide = False
    cookie_every = 0

    def call(self, headers: Mapping[str, str], query: Pairs, page: PageRequest, *, batch: bool) -> None:
        """Check what both endpoints require. Source: "Common request parts"."""
        content_type = headers.get("content-type")
        require(content_type == "application/x-www-form-urlencoded;charset=utf-8", "header Content-Type")
        require(headers.get("origin") == page.site, "header Origin")
        require(headers.get("referer") == f"{page.site}/", "header Referer")
        require(headers.get("x-same-domain") == "1", "header X-Same-Domain")
        values = dict(query)
        require(len(values) == len(query), "query: a key twice")
        require(values.keys() == (_BATCH_QUERY if batch else _QUERY), "query: its keys")
        require(values["bl"] == page.build, "query bl")
        require(values["f.sid"] == page.sid, "query f.sid")
        require(values["hl"] == page.language, "query hl")
        require(values["rt"] == "c", "query rt")
        require(re.fullmatch(r"[0-9]{5,12}", values["_reqid"]), "query _reqid")

    def form(self, pairs: Pairs, *, guest: bool, lost: bool) -> None:
        """Require `f.req`, and `at` from signed-in clients; allow it if the session was `lost` without notice."""
        names = sorted(name for name, _ in pairs)
        require(
            names == (["f.req"] if guest else ["at", "f.req"]) or (lost and names == ["at", "f.req"]), "form fields"
        )

    def generate(self, request: Any, slots: list[Any], headers: Mapping[str, str], language: str) -> None:
        """Check StreamGenerate's slots and model headers. Source: "StreamGenerate"."""
        require(is_list(request, 2) and request[0] is None, "f.req")
        require(is_list(slots, _SLOTS), f"f.req inner: {_SLOTS} slots")
        for index, value in enumerate(slots):
            require(index in _FREE_SLOTS or same(value, _FIXED.get(index)), f"slot {index}")
        first = slots[0]
        require(is_list(first, 7), "slot 0")
        require(same([*first[1:3], *first[4:]], [0, None, None, None, 0]), "slot 0")
        require(same(slots[1], [language]), "slot 1")
        _one_of(slots, 19, None, str)
        for slot, allowed in ((45, (None, 1)), (49, _TOOLS), (67, (None, 0)), (68, (1, 2)), (80, (1, 2))):
            _one_of(slots, slot, *allowed)
        require(is_uuid(slots[59]) and slots[59] == slots[59].upper(), "slot 59: a UUID in upper case")
        _check_place(slots)
        _check_files(first[3])
        if slots[49] == _VIDEO:
            require(same(slots[54], []), "slot 54")
            require(any(same(slots[55], [[aspect]]) for aspect in _ASPECTS), "slot 55")
        else:
            research = slots[49] == _RESEARCH
            require(same(slots[54], [[[[[1]]]]] if research else None), "slot 54")
            require(same(slots[55], [[1]] if research else None), "slot 55")
        _check_model_header(headers, slots)
        require(headers.get("x-goog-ext-73010989-jspb") == "[0]", "header x-goog-ext-73010989-jspb")
        require(headers.get("x-goog-ext-73010990-jspb") == "[0,0,0]", "header x-goog-ext-73010990-jspb")
        name = "x-goog-ext-525005358-jspb"
        require(same(decoded(headers.get(name, ""), f"header {name}"), [slots[59], 1]), f"header {name}")

    def batch(
        self, calls: list[BatchCall], headers: Mapping[str, str], query: Mapping[str, str], page: PageRequest
    ) -> None:
        """Check a batch's calls. Source: "Batch calls"."""
        for call in calls:
            require(call.rpc in _PAYLOADS, f"rpc {call.rpc[:16]}")
            require(call.name == "generic", "f.req: a call")
            payload = decoded(call.text, f"payload of {call.rpc}")
            require(any(_fits(payload, one) for one in _PAYLOADS[call.rpc]), f"payload of {call.rpc}")
        rpcs = [call.rpc for call in calls]
        require(query.get("rpcids") == ",".join(rpcs), "query rpcids")
        path = "/usage" if rpcs == ["jSf9Qc"] else "/app"
        require(query.get("source-path") == page.prefix + path, "query source-path")
        flags = decoded(headers.get(wire.MODEL_HEADER, ""), f"header {wire.MODEL_HEADER}")
        require(is_list(flags, 17), f"header {wire.MODEL_HEADER}")
        require(same(flags[:16], [1, *[None] * 7, [4, 5, 6, 8], *[None] * 7]), f"header {wire.MODEL_HEADER}")
        require(is_uuid(flags[16]), f"header {wire.MODEL_HEADER}: uuid")

    def rotation(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> tuple[str, int] | None:
        """Require the PSID pair and no other cookie. Source: "Session", step 2."""
        if headers.get("content-type") != wire.ROTATE_CONTENT_TYPE:
            return "RotateCookies: Content-Type", 400
        if set(cookies) - {wire.PSID, wire.PSIDTS}:
            return "RotateCookies: other cookies along", 401
        return None

    def upload(self, request: Request, push_id: str, step: UploadStep) -> str:
        """Check an upload's headers. Source: "Files in"."""
        headers, origin = request.headers, request.headers.get("origin")
        pushed = headers.get("push-id") == push_id and headers.get("x-tenant-id") == "bard-storage"
        if step != "finish" and not pushed:
            return "upload: Push-ID or X-Tenant-Id"
        if "cookie" in headers:
            return "upload: a cookie"
        if step == "start":
            resumable = headers.get("x-goog-upload-protocol") == "resumable"
            length = headers.get("x-goog-upload-header-content-length", "")
            if headers.get("x-goog-upload-command") != "start" or not resumable or not length.isdecimal():
                return "upload: X-Goog-Upload-Command, X-Goog-Upload-Protocol or X-Goog-Upload-Header-Content-Length"
        if step == "finish" and headers.get("x-goog-upload-offset") != "0":
            return "upload: X-Goog-Upload-Offset"
        if origin not in spellings_of(request) or headers.get("referer") != f"{origin}/":
            return "upload: Origin or Referer"
        return ""

    def can_continue(self, ask: TurnRequest, *, guest: bool) -> bool:
        """Continue only saved conversations, because the gateway's client continues no other."""
        return not guest and not ask.temporary

    def family(self, session: SimulatedSession, ask: TurnRequest) -> str | int:
        """Refuse a model that does not fit the account, so that a wrong choice of the gateway is noticed."""
        if session.account is None:  # a guest asking for more silently gets the smaller model
            return DEFAULT
        known = of_plan(session.plan)
        if ask.model_id is None:
            return DEFAULT
        family = known.get(ask.model_id)
        fits = family is not None and ask.capacity == wire.CAPACITIES[session.plan]
        if family is None or not fits or ask.number != wire.MODEL_NUMBERS[family]:
            return wire.CODE_MODEL_HEADER
        return family

    def files_refused(self) -> int:
        """Refuse the request: the gateway's client sends only paths that it got from an upload."""
        raise Departure("slot 0: a guest's file, no such upload, or an expired one")


def _fits(value: Any, wanted: Any) -> bool:
    """Return whether a payload matches a pattern."""
    if wanted is _TEXT:
        return isinstance(value, str)
    if not isinstance(wanted, list):
        return same(value, wanted)
    pattern = cast("list[Any]", wanted)
    return is_list(value, len(pattern)) and all(_fits(one, other) for one, other in zip(value, pattern, strict=True))


def _one_of(slots: list[Any], slot: int, *allowed: Any) -> None:
    """Require one of these values, or one of these types."""
    value = slots[slot]
    fits = any(type(value) is one if isinstance(one, type) else same(value, one) for one in allowed)
    require(fits, f"slot {slot}")


def _check_place(slots: list[Any]) -> None:
    """Check the ids of the turn that is continued, and the index of this turn in its conversation."""
    value, fresh = slots[2], same(slots[2], _FRESH)
    match slots[17]:
        case [[int(index)]] if is_number(index) and index >= 0:
            require(index == 0 or not fresh, "slot 17: a fresh conversation begins with 0")
        case _:
            raise Departure("slot 17")
    if fresh:
        return
    require(is_list(value, 10) and same(value[3:9], [None] * 6), "slot 2")
    require(all(isinstance(one, str) and one for one in value[:3]), "slot 2")
    require(value[9] is None or isinstance(value[9], str), "slot 2")


def _check_files(value: Any) -> None:
    if value is None:
        return
    require(isinstance(value, list) and bool(cast("list[Any]", value)), "slot 0: files")
    where = "slot 0: a file"
    for entry in cast("list[Any]", value):
        match entry:
            case [[str()], str(name)] if name:
                pass
            case [[str(), kind, None, str(mime)], str(name), *rest] if name and is_number(kind):
                fitting = {"image": 1, "video": 2}.get(mime.partition("/")[0], 3)
                require("/" in mime and kind == fitting, f"{where}: its type")
                require(same(rest, [None, None, None, None, None, None, [0]]), where)
            case _:
                raise Departure(where)


def _check_model_header(headers: Mapping[str, str], slots: list[Any]) -> None:
    text = headers.get(wire.MODEL_HEADER)
    if text is None:
        require(slots[79] is None or is_number(slots[79]), "slot 79")
        return
    where = f"header {wire.MODEL_HEADER}"
    model = decoded(text, where)
    require(is_list(model, 17) or is_list(model, 18), where)
    if len(model) == 18:  # a field-13 account
        require(model[11] is None, where)
        model = [*model[:11], *model[12:]]
    require(same(model[:4], [1, None, None, None]) and isinstance(model[4], str), where)
    require(same(model[5:11], [None, None, 0, [4, 5, 6, 8], None, None]), where)
    require(is_number(model[11]) and same(model[12:14], [None, None]), f"{where}: capacity")
    require(is_number(model[14]) and same(model[14], slots[79]), f"{where}: the model number is not slot 79's")
    require(same(model[15], slots[80]), f"{where}: the thinking is not slot 80's")
    require(is_uuid(model[16]), f"{where}: uuid")
