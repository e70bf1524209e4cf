"""Holds StreamGenerate's slots and model header against the wire protocol page. Source: "StreamGenerate"."""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from transports.simulator.check import decoded, is_list, is_number, is_uuid, require, same
from transports.web import wire

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
_FREE_SLOTS = frozenset({0, 1, 2, 17, 19, 45, 49, 54, 55, 59, 67, 68, 79, 80})
_TOOLS = (None, 1, 2, 11, 14, 20, 21)
_RESEARCH, _VIDEO = 1, 11
_ASPECTS = (16, 17)
_FRESH = ["", "", "", None, None, None, None, None, None, ""]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A StreamGenerate request, understood."""

    prompt: str
    temporary: bool
    tool: int | None
    gem: str | None
    place: list[str] | None
    """Cid, rid, rcid and context of the turn that it follows; None: a fresh conversation."""
    files: list[tuple[str, str]]
    """Upload path and name."""
    aspect: int | None
    """A video's."""
    model_id: str | None
    capacity: int | None
    number: int | None


def generate(request: Any, headers: Mapping[str, str], language: str) -> Ask:
    """Check StreamGenerate's slots and model headers.

    Raises:
        Departure: something is not as the page says.

    """
    require(is_list(request, 2) and request[0] is None and isinstance(request[1], str), "f.req")
    slots = decoded(request[1], "f.req inner")
    require(is_list(slots, 81), "f.req inner: 81 slots")
    for index, value in enumerate(cast("list[Any]", slots)):
        require(index in _FREE_SLOTS or same(value, _FIXED.get(index)), f"slot {index}")
    first = slots[0]
    require(is_list(first, 7) and isinstance(first[0], str), "slot 0")
    require(same([*first[1:3], *first[4:]], [0, None, None, None, 0]), "slot 0")
    require(same(slots[1], [language]), "slot 1")
    _one_of(slots, 19, None, str)
    for slot, allowed in ((45, (None, 1)), (49, _TOOLS), (67, (None, 0)), (68, (1, 2)), (80, (1, 2))):
        _one_of(slots, slot, *allowed)
    _turn_index(slots)
    require(is_uuid(slots[59]) and slots[59] == slots[59].upper(), "slot 59: a UUID in upper case")
    model = _model_header(headers, slots)
    _request_headers(headers, slots[59])
    return Ask(
        prompt=first[0],
        temporary=slots[45] == 1,
        tool=slots[49],
        gem=slots[19],
        place=_place(slots[2], temporary=slots[45] == 1),
        files=_files(first[3]),
        aspect=_aspect(slots),
        model_id=model[0],
        capacity=model[1],
        number=model[2],
    )


def _turn_index(slots: list[Any]) -> None:
    """Check the index of the turn in its conversation; a fresh one begins with 0."""
    match slots[17]:
        case [[int(index)]] if is_number(index) and index >= 0:
            require(index == 0 or not same(slots[2], _FRESH), "slot 17: a fresh conversation begins with 0")
        case _:
            require(condition=False, what="slot 17")


def _one_of(slots: list[Any], slot: int, *allowed: Any) -> None:
    """Require one of these values, or one of these types."""
    value = slots[slot]
    fits = any(type(value) is one if isinstance(one, type) else same(value, one) for one in allowed)
    require(fits, f"slot {slot}")


def _place(value: Any, *, temporary: bool) -> list[str] | None:
    if same(value, _FRESH):
        return None
    require(is_list(value, 10) and same(value[3:9], [None] * 6), "slot 2")
    place = [*value[:3], "" if value[9] is None else value[9]]
    require(all(isinstance(one, str) for one in place) and all(place[:3]), "slot 2")
    require(not temporary, "slot 45: a temporary chat has nothing to go on from")
    return place


def _files(value: Any) -> list[tuple[str, str]]:
    if value is None:
        return []
    require(isinstance(value, list) and bool(cast("list[Any]", value)), "slot 0: files")
    return [_file(entry) for entry in cast("list[Any]", value)]


def _file(entry: Any) -> tuple[str, str]:
    where = "slot 0: a file"
    match entry:
        case [[str(path)], str(name)] if name:
            return path, name
        case [[str(path), kind, None, str(mime)], str(name), *rest] if name and is_number(kind):
            fitting = {"image": 1, "video": 2}.get(mime.partition("/")[0], 3)
            require("/" in mime and kind == fitting, f"{where}: its type")
            require(same(rest, [None, None, None, None, None, None, [0]]), where)
            return path, name
        case _:
            require(condition=False, what=where)
            return "", ""


def _aspect(slots: list[Any]) -> int | None:
    """Check what research and videos say in slots 54 and 55; return a video's aspect."""
    tool = slots[49]
    if tool == _VIDEO:
        require(same(slots[54], []), "slot 54")
        require(any(same(slots[55], [[aspect]]) for aspect in _ASPECTS), "slot 55")
        return int(slots[55][0][0])
    research = tool == _RESEARCH
    require(same(slots[54], [[[[[1]]]]] if research else None), "slot 54")
    require(same(slots[55], [[1]] if research else None), "slot 55")
    return None


def _model_header(headers: Mapping[str, str], slots: list[Any]) -> tuple[str | None, int | None, int | None]:
    text = headers.get(wire.MODEL_HEADER)
    if text is None:
        require(slots[79] is None or is_number(slots[79]), "slot 79")
        return None, None, None
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
    return model[4], model[11], model[14]


def _request_headers(headers: Mapping[str, str], request_uuid: str) -> None:
    require(headers.get("x-goog-ext-73010989-jspb") == "[0]", "header x-goog-ext-73010989-jspb")
    require(headers.get("x-goog-ext-73010990-jspb") == "[0,0,0]", "header x-goog-ext-73010990-jspb")
    name = "x-goog-ext-525005358-jspb"
    require(same(decoded(headers.get(name, ""), f"header {name}"), [request_uuid, 1]), f"header {name}")
