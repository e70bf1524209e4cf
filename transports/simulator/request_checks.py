"""Reads requests for both profiles, and names why one is refused.

The site gives no reasons: here they are shown at `/simulator/state`, and the client sees only the status. What this
module requires is what the site is known to require, in any form that known clients send; `profiles` asks for more.

Source: "StreamGenerate", "Common request parts"
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, cast
from urllib.parse import parse_qsl

import msgspec

from transports.web import wire

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
FEWEST = 69
"""Slots in the shortest request that known clients send."""
RESEARCH, CANVAS, VIDEO, IMAGE, DEEP_THINK, MUSIC = TOOLS = (1, 2, 11, 14, 20, 21)
EXTENDED = 2


class Departure(Exception):
    """The request is refused; says why."""


class AccessTokenMissing(Exception):
    """A signed-in call has no access token, or a stale one."""


class BuildOutdated(Exception):
    """The call names a build that the site no longer uses."""


class UnfitPayload(Exception):
    """A batch call's payload does not fit its RPC."""


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the bootstrap page told the client, and its URL."""

    site: str
    prefix: str
    """`/u/N`, or nothing."""
    build: str
    outdated: frozenset[str]
    """Builds that pages named before."""
    sid: str
    language: str


class BatchCall(msgspec.Struct, frozen=True, kw_only=True):
    """One RPC of a batch."""

    rpc: str
    text: str
    """The payload as it was sent."""
    name: Any
    """The fourth field, which the answer repeats."""

    @property
    def payload(self) -> Any:
        """The payload, decoded; some clients quote strings as Python does.

        Raises:
            UnfitPayload: it cannot be decoded.

        """
        for text in (self.text, self.text.replace("'", '"')):
            try:
                return decoded(text, "payload")
            except Departure:
                continue
        raise UnfitPayload


class TurnRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a StreamGenerate request asks for."""

    prompt: str
    temporary: bool
    as_browser: bool
    """Whether a temporary chat is requested as browsers request it: by slot 68."""
    tool: int | None
    gem: str | None
    place: list[str] | None
    """Cid, rid, rcid and context of the turn that it follows; None: a fresh conversation."""
    files: list[tuple[str, str]]
    """Upload path and name; the path is empty where the site would not find one."""
    aspect: int | None
    """Aspect of a video."""
    model_id: str | None
    """None: no model was chosen; empty: the model header cannot be read."""
    capacity: int | None
    number: int | None
    extended: bool


def require(condition: object, what: str) -> None:
    """Raise Departure unless the condition holds."""
    if not condition:
        raise Departure(what)


def same(value: Any, wanted: Any) -> bool:
    """Return whether two JSON values are written the same: `true` and `1.0` are not `1`."""
    return json.dumps(value, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def form(body: bytes, access_token: str | None) -> tuple[list[tuple[str, str]], Any]:
    """Return the form's fields, and the JSON in `f.req`.

    Raises:
        AccessTokenMissing: a signed-in call has no good access token.
        Departure: the body is not a form, or has no readable `f.req`.

    """
    try:
        text = body.decode("ascii").removesuffix("&")  # browsers end a form with it
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=10)
    except ValueError:
        raise Departure("form") from None
    fields = dict(pairs)
    if access_token is not None and fields.get("at") != access_token:
        raise AccessTokenMissing
    require("f.req" in fields, "form fields")
    return pairs, decoded(fields["f.req"], "form f.req")


def batch(request: Any) -> list[BatchCall]:
    """Return a batch's calls."""
    match request:
        case [[_, *_] as calls, *_]:
            pass
        case _:
            raise Departure("f.req")
    found: list[BatchCall] = []
    for call in cast("list[Any]", calls):
        match call:
            case [str(rpc), str(text), _, name]:
                found.append(BatchCall(rpc=rpc, text=text, name=name))
            case [str(rpc), str(text), *_]:
                found.append(BatchCall(rpc=rpc, text=text, name="generic"))
            case _:
                raise Departure("f.req: a call")
    return found


def decoded(text: str, what: str) -> Any:
    """Decode JSON without NaN and Infinity, or raise Departure."""

    def refuse_constant(name: str) -> NoReturn:
        raise ValueError(name)

    try:
        return json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        raise Departure(what) from None


def header_list(headers: Mapping[str, str], name: str) -> list[Any] | None:
    """Return the JSON list of a header; None if the header is missing or holds no list."""
    try:
        value = decoded(headers.get(name, ""), name)
    except Departure:
        return None
    return cast("list[Any]", value) if isinstance(value, list) else None


def at(value: Any, *path: int) -> Any:
    """Return the element of nested lists at a path; None if there is none."""
    for index in path:
        if not isinstance(value, list) or index >= len(cast("list[Any]", value)):
            return None
        value = cast("list[Any]", value)[index]
    return value


def is_list(value: Any, length: int) -> bool:
    """Return whether it is a list of this length."""
    return isinstance(value, list) and len(cast("list[Any]", value)) == length


def is_number(value: Any) -> bool:
    """Return whether it is a whole number, and no boolean."""
    return type(value) is int


def is_uuid(value: Any) -> bool:
    """Return whether it is a UUID's text."""
    return isinstance(value, str) and UUID.fullmatch(value) is not None


def slots_of(request: Any) -> list[Any]:
    """Return the slots of a request.

    Raises:
        Departure: the request has no slots, or too few.

    """
    match request:
        case [_, str(text), *_]:
            found = decoded(text, "f.req inner")
        case _:
            raise Departure("f.req")
    slots = cast("list[Any]", found) if isinstance(found, list) else []
    require(len(slots) >= FEWEST, f"f.req inner: {FEWEST} slots")
    return slots


def read(slots: list[Any], headers: Mapping[str, str]) -> TurnRequest:
    """Return what the slots and the model header ask for.

    Raises:
        Departure: the site would refuse the request.

    """
    prompt, tool, aspect = at(slots[0], 0), at(slots, 49), at(slots, 55, 0, 0)
    require(isinstance(prompt, str), "slot 0")
    model_id, capacity, number, thinking = _model(headers)
    place: list[str] | None = None  # the ids of the turn that is continued
    if slots[2] is not None:
        require(isinstance(slots[2], list), "slot 2")
        between = [one for one in cast("list[Any]", slots[2])[3:9] if one is not None]
        require(not between, "slot 2: nulls between the ids and the context")
        ids: list[Any] = [at(slots[2], index) or "" for index in (0, 1, 2, 9)]
        require(all(isinstance(one, str) for one in ids), "slot 2")
        place = ids if ids[0] else None
    return TurnRequest(
        prompt=prompt,
        temporary=at(slots, 45) == 1,
        as_browser=slots[68] == 2,
        tool=tool if is_number(tool) and tool in TOOLS else None,
        gem=slots[19] if isinstance(slots[19], str) and slots[19] else None,
        place=place,
        files=_files(slots[0]),
        aspect=aspect if is_number(aspect) else None,
        model_id=model_id,
        capacity=capacity,
        number=number,
        extended=thinking == EXTENDED or (thinking is None and at(slots, 80) == EXTENDED),
    )


def _files(first: Any) -> list[tuple[str, str]]:
    """Return the attachments, in any of their four forms, as paths and names."""
    entries = at(first, 3)
    require(entries is None or isinstance(entries, list), "slot 0: files")
    found: list[tuple[str, str]] = []
    for entry in cast("list[Any]", entries or []):
        match entry:
            case [[str(path), *_], str(name), *_]:
                found.append((path, name))
            case [None, None, str(path), *_]:
                found.append((path, path.rpartition("/")[2]))
            case _:
                found.append(("", ""))
    return found


def _model(headers: Mapping[str, str]) -> tuple[str | None, int | None, int | None, int | None]:
    """Return the model header's id, capacity, number and thinking; fields that are left out are None."""
    if wire.MODEL_HEADER not in headers:
        return None, None, None, None
    model = header_list(headers, wire.MODEL_HEADER)
    if model is None:
        return "", None, None, None
    if at(model, 11) is None and is_number(at(model, 12)):  # a field-13 account
        model = [*model[:11], *model[12:]]
    identifier = at(model, 4)
    if identifier is not None and not isinstance(identifier, str):
        return "", None, None, None
    capacity, number, thinking = (
        value if is_number(value) else None for value in (at(model, 11), at(model, 14), at(model, 15))
    )
    return identifier, capacity, number, thinking
