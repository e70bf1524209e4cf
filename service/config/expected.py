"""Describes the value that a setting takes, for error messages, by the types of the settings schema."""

import re
from difflib import get_close_matches
from functools import cache
from typing import Any, cast

import msgspec
from msgspec import inspect

_KEYS = re.compile(r"\[[^\]]*\]|[^.\[]+")

_TEXT = ("text", "text")
_PLAIN: dict[type, tuple[str, str]] = {
    inspect.BoolType: ("true or false", "true"),
    inspect.VarTupleType: ("a list", "[]"),
    inspect.DictType: ("a table", '{"name": "value"}'),
    inspect.StructType: ("a table", "{}"),
    inspect.CustomType: ("a path", "/path/to/file"),
}
"""How a type is called, and an example of it."""


@cache
def shape_of(section: type[msgspec.Struct]) -> inspect.Type:
    """Return the description of a settings section's type."""
    return inspect.type_info(section)


def bare(shape: inspect.Type) -> inspect.Type:
    """Return a type without its metadata and without None."""
    if isinstance(shape, inspect.Metadata):
        return bare(shape.type)
    if isinstance(shape, inspect.UnionType):
        return bare(next(one for one in shape.types if not isinstance(one, inspect.NoneType)))
    return shape


def child_of(shape: inspect.Type, key: str) -> inspect.Type | None:
    """Return the type below `key` in a table; None if there is no such key."""
    shape = bare(shape)
    if isinstance(shape, inspect.DictType):
        return shape.value_type
    return next((field.type for field in fields_of(shape) if field.encode_name == key), None)


def fields_of(shape: inspect.Type) -> tuple[inspect.Field, ...]:
    """Return the fields of a settings section, or nothing if it has none."""
    shape = bare(shape)
    return shape.fields if isinstance(shape, inspect.StructType) else ()


def find(shape: inspect.Type, path: str) -> tuple[inspect.Type | None, Any]:
    """Return the type and the default at a path such as `licenses[0].features[1]`; None if there is no such setting."""
    default: Any = msgspec.NODEFAULT
    found: inspect.Type | None = shape
    for name in _KEYS.findall(path):
        if found is None:
            break
        below = bare(found)
        if not name.startswith("["):
            default = next((field.default for field in fields_of(below) if field.encode_name == name), default)
            found = child_of(below, name)
        elif isinstance(below, inspect.VarTupleType):
            found, default = below.item_type, msgspec.NODEFAULT
        else:
            found = below.value_type if isinstance(below, inspect.DictType) else None
    return found, default


def expected(shape: inspect.Type) -> str:
    """Return a few words on the values that a type takes, such as `a whole number from 0 to 65535`."""
    if description := _notes(shape).get("description"):
        return description
    shape = bare(shape)
    choices = choices_of(shape)
    if choices:
        return f"one of: {', '.join(choices)}"
    if isinstance(shape, inspect.IntType | inspect.FloatType):
        least = (
            f" from {shape.ge:g}" if shape.ge is not None else f" above {shape.gt:g}" if shape.gt is not None else ""
        )
        most = f" to {shape.le:g}" if shape.le is not None else ""
        return f"a {'whole ' if isinstance(shape, inspect.IntType) else ''}number{least}{most}"
    return _PLAIN.get(type(shape), _TEXT)[0]


def _notes(shape: inspect.Type) -> dict[str, Any]:
    """Return what `Meta` says on a type for people: `description` and `examples`."""
    if isinstance(shape, inspect.UnionType):
        return _notes(next(one for one in shape.types if not isinstance(one, inspect.NoneType)))
    if not isinstance(shape, inspect.Metadata):
        return {}
    return cast("dict[str, Any]", shape.extra_json_schema or {})  # pyright: ignore[reportUnknownMemberType]


def choices_of(shape: inspect.Type) -> tuple[str, ...]:
    """Return the values of an enumeration, or nothing if it has none."""
    shape = bare(shape)
    if isinstance(shape, inspect.LiteralType):
        return tuple(str(value) for value in shape.values)
    if isinstance(shape, inspect.EnumType):
        return tuple(str(member.value) for member in shape.cls)
    return ()


def example_of(shape: inspect.Type, default: Any = msgspec.NODEFAULT) -> str:
    """Return a value that the setting takes, as JSON or plain text; the default if it has one."""
    if default not in (msgspec.NODEFAULT, None, "", ()) and not isinstance(default, msgspec.Struct):
        return default if isinstance(default, str) else msgspec.json.encode(default, enc_hook=str).decode()
    if examples := _notes(shape).get("examples"):
        return examples[0]
    shape = bare(shape)
    if isinstance(shape, inspect.VarTupleType):
        item = example_of(shape.item_type)
        return f"[{item}]" if item.startswith("{") else f'["{item}"]'
    if isinstance(shape, inspect.StructType):
        required = [field for field in shape.fields if field.required] or shape.fields[:1]
        pairs = (f'"{field.encode_name}": "{example_of(field.type)}"' for field in required)
        return f"{{{', '.join(pairs)}}}"
    if choices := choices_of(shape):
        return choices[0]
    is_number = isinstance(shape, inspect.IntType | inspect.FloatType)
    return f"{shape.ge or 1:g}" if is_number else _PLAIN.get(type(shape), _TEXT)[1]


def unknown_key(shape: inspect.Type, path: str, field: str) -> str:
    """Say that a table at `path` takes no such key, with the nearest one and all that it takes."""
    found, _ = find(shape, path)
    known = [one.encode_name for one in fields_of(found)] if found is not None else []
    close = get_close_matches(field, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"unknown key{hint}" + (f"; expected one of: {', '.join(known)}" if known else "")


def wrong_value(shape: inspect.Type, path: str, variable: str | None, *, of_key: bool = False) -> str:
    """Say what the setting at a path takes, with an example; `variable` is the environment variable that sets it.

    With `of_key` it says what the keys of the table at the path are.
    """
    found, default = find(shape, path)
    table = bare(found) if found is not None else None
    if of_key and isinstance(table, inspect.DictType):
        return f"expected as a key {expected(table.key_type)}"
    if found is None:
        return "expected a table"
    example = example_of(found, default)
    if variable is not None:
        return f"expected {expected(found)}; for example {variable}={example}"
    return f"expected {expected(found)}" + ("" if choices_of(found) else f"; for example {example}")
