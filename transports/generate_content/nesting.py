"""Tells values that are nested deeper than the API reads.

The API reads objects of the client's own as `google.protobuf.Struct`, and no message within more than 100 others. An
object within an object is three messages deeper, so that about 32 objects fit into each other.

Source: "GenerateContentRequest".
"""

from typing import Any, cast

MOST_LEVELS = 30


def is_too_deep(value: Any, levels: int = MOST_LEVELS) -> bool:
    """Return whether a value of JSON has more than this many objects and lists within each other."""
    if isinstance(value, dict):
        inner = list(cast("dict[str, Any]", value).values())
    elif isinstance(value, list):
        inner = cast("list[Any]", value)
    else:
        return False
    return not levels or any(is_too_deep(one, levels - 1) for one in inner)
