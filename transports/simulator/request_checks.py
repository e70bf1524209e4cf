"""Reads what a StreamGenerate request asks for, in any form that known clients send. Source: "StreamGenerate"."""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from transports.simulator.check import Departure, at, decoded, header_list, is_number, require
from transports.web import wire

FEWEST = 69
"""Slots in the shortest request that known clients send."""
TOOLS = (1, 2, 11, 14, 20, 21)
EXTENDED = 2


class TurnRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A StreamGenerate request, understood."""

    prompt: str
    temporary: bool
    as_browser: bool
    """A temporary chat is asked for as browsers do: with slot 68."""
    tool: int | None
    gem: str | None
    place: list[str] | None
    """Cid, rid, rcid and context of the turn that it follows; None: a fresh conversation."""
    files: list[tuple[str, str]]
    """Upload path and name; the path is empty where the site would not find one."""
    aspect: int | None
    """A video's."""
    model_id: str | None
    """None: no model was chosen; empty: the model header cannot be read."""
    capacity: int | None
    number: int | None
    extended: bool


def slots_of(request: Any) -> list[Any]:
    """Return the slots of a request.

    Raises:
        Departure: there are none, or too few.

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
        Departure: the site would refuse it.

    """
    prompt, tool, aspect = at(slots[0], 0), at(slots, 49), at(slots, 55, 0, 0)
    require(isinstance(prompt, str), "slot 0")
    model_id, capacity, number, thinking = _model(headers)
    return TurnRequest(
        prompt=prompt,
        temporary=at(slots, 45) == 1,
        as_browser=slots[68] == 2,
        tool=tool if is_number(tool) and tool in TOOLS else None,
        gem=slots[19] if isinstance(slots[19], str) and slots[19] else None,
        place=_place(slots[2]),
        files=_files(slots[0]),
        aspect=aspect if is_number(aspect) else None,
        model_id=model_id,
        capacity=capacity,
        number=number,
        extended=thinking == EXTENDED or (thinking is None and at(slots, 80) == EXTENDED),
    )


def _place(value: Any) -> list[str] | None:
    """Return the ids of the turn that is continued, or None for a fresh conversation."""
    if value is None:
        return None
    require(isinstance(value, list), "slot 2")
    between = [one for one in cast("list[Any]", value)[3:9] if one is not None]
    require(not between, "slot 2: nulls between the ids and the context")
    place = [at(value, index) or "" for index in (0, 1, 2, 9)]
    require(all(isinstance(one, str) for one in place), "slot 2")
    return place if place[0] else None


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
