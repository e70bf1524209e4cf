"""Read fields of JSPB arrays (protobuf messages as JSON arrays). Source: "JSPB arrays".

A field is stored at its index, or in a trailing dict under `str(index + 1)`: in `["a", {"7": "b"}]`, field 0 is "a" and
field 6 is "b".
"""

import re
from typing import Any, cast

_LIST: Any = list
_DICT: Any = dict
"""Untyped `list` and `dict` for isinstance checks: `cast` would cost a call per field."""

_MOST = 10**18
_LAST_SECOND = 253_402_300_799
"""The last second of the year 9999; larger numbers are not times."""


def field(array: Any, index: int) -> Any:
    """Return the field at `index`, stored in either form; None if it is unset or `array` is not an array."""
    if not isinstance(array, _LIST) or not array:
        return None
    last = len(array) - 1
    if index <= last:
        found = array[index]
        if found is not None and (index < last or not isinstance(found, dict)):
            return found
    sparse = array[last]
    return sparse.get(str(index + 1)) if isinstance(sparse, _DICT) else None


def path(value: Any, *indexes: int) -> Any:
    """Follow indexes through nested arrays; None if one is missing."""
    for index in indexes:
        found = value[index] if isinstance(value, _LIST) and index + 1 < len(value) else None
        value = field(value, index) if found is None else found
        if value is None:
            return None
    return value


def text(value: Any, *indexes: int) -> str | None:
    """Follow indexes to a string; None if it is missing."""
    found = path(value, *indexes)
    return found if isinstance(found, str) else None


def integer(value: Any, *indexes: int) -> int | None:
    """Follow indexes to an integer; None if it is missing."""
    found = path(value, *indexes)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def count(value: Any, *indexes: int) -> int | None:
    """Follow indexes to a non-negative integer, which may be a string; None if it is missing."""
    found = path(value, *indexes)
    if isinstance(found, str) and found.isascii() and found.isdecimal() and len(found) < len(str(_MOST)):
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < _MOST else None


def seconds(value: Any, *indexes: int) -> int | None:
    """Follow indexes to a time in epoch seconds; None if it is missing."""
    found = count(value, *indexes)
    return found if found and found <= _LAST_SECOND else None


def number(value: Any, *indexes: int) -> float | None:
    """Follow indexes to a number; None if it is missing."""
    found = path(value, *indexes)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def array(value: Any, *indexes: int) -> list[Any]:
    """Follow indexes to an array; empty if it is missing."""
    found = path(value, *indexes)
    return cast("list[Any]", found) if isinstance(found, list) else []


def mapping(value: Any, index: int) -> dict[str, Any]:
    """Return the dict at `index` of an array, even as the last item; empty if it is missing."""
    items = cast("list[Any]", value) if isinstance(value, list) else []
    found = items[index] if index < len(items) else None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


_HALF = re.compile("[\ud800-\udfff]")


def identifier(value: Any, *indexes: int) -> str:
    """Follow indexes to an id; empty if it is missing or not ASCII (it could not be sent back or stored)."""
    found = text(value, *indexes)
    return found if found is not None and found.isascii() else ""


def encodable(value: Any, *indexes: int) -> str:
    """Follow indexes to a string; empty if it is missing or contains half of a surrogate pair."""
    found = text(value, *indexes) or ""
    return "" if _HALF.search(found) else found
