"""Reads settings as people write them: in environment variables, and as text in the settings file.

An environment variable is only text. It is read by the type of the setting that it sets:

    GEMINI_GATEWAY__FETCH__ENABLED=yes              a word for true or false, in any case
    GEMINI_GATEWAY__LIMITS__BODY_BYTES=64MiB        a number, or a size or time with its unit
    GEMINI_GATEWAY__LOG__LEVEL=INFO                 one of several words, in any case
    GEMINI_GATEWAY__SERVER__CORS_ORIGINS=a, b       a list by commas or blanks, in JSON, or as in TOML
    GEMINI_GATEWAY__LICENSES=[{"id": "a"}]          tables, in JSON or as in TOML

Blanks, newlines, a byte order mark and one pair of quotes around a variable are ignored, since shells and env files
leave them there. Text that fits no such form stays text, which the schema then refuses with the expected value.
"""

import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from math import isfinite
from typing import Any, cast

import msgspec
from msgspec import inspect

from service.config.expected import bare, child_of, choices_of, fields_of

ENVIRONMENT_PREFIX = "GEMINI_GATEWAY__"

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1", "t", "y", "enable", "enabled"), True),
    **dict.fromkeys(("false", "no", "off", "0", "f", "n", "disable", "disabled"), False),
}
_QUANTITY = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?) *([a-z]+)", re.IGNORECASE)
_UNITS: dict[str, dict[str, float]] = {
    "_bytes": {
        "b": 1,
        **{f"{letter}{end}": 1024**power for power, letter in enumerate("kmgt", 1) for end in ("", "ib")},
        **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    },
    "_seconds": {
        "ms": 0.001,
        **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
        **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
        **dict.fromkeys(("h", "hour", "hours"), 3600),
        **dict.fromkeys(("d", "day", "days"), 86400),
    },
}
"""What a unit multiplies, by the end of the setting's name."""
_NO_UNITS: dict[str, float] = {}


class VariableText(str):
    """Text of an environment variable, which `resolve` reads by the type of its setting."""

    __slots__ = ()


def keys_of(variable: str) -> list[str]:
    """Return the section and key that an environment variable sets."""
    return variable[len(ENVIRONMENT_PREFIX) :].lower().split("__")


def settings_in(environment: Mapping[str, str]) -> dict[str, VariableText]:
    """Return the variables that set something, by name; an empty variable counts as not set."""
    found = {
        name: VariableText(_unquoted(text))
        for name, text in environment.items()
        if name.upper().startswith(ENVIRONMENT_PREFIX) and text.strip("\ufeff \t\r\n")
    }
    return dict(sorted(found.items()))


def misspelt(environment: Mapping[str, str], shape: inspect.Type) -> tuple[str, str] | None:
    """Return the first variable that sets nothing because of a single underscore, and its right name.

    Other variables that begin alike are left alone: Kubernetes sets `GEMINI_GATEWAY_SERVICE_HOST` and the like.
    """
    known = {variable.replace("__", "_"): variable for variable in variables_of(shape)}
    for name in sorted(environment):
        plain = name.upper().replace("__", "_")
        if "__" in name.removeprefix(ENVIRONMENT_PREFIX[:-1]) and not name.upper().startswith(ENVIRONMENT_PREFIX):
            right = known.get(plain)
            if right is not None:
                return name, right
    return None


def nearest(variable: str, shape: inspect.Type) -> str | None:
    """Return the known variable that is spelt most like this one."""
    known = {name.removeprefix(ENVIRONMENT_PREFIX): name for name in variables_of(shape)}
    close = get_close_matches(variable[len(ENVIRONMENT_PREFIX) :].upper(), known, n=1, cutoff=0.8)
    return known[close[0]] if close else None


def variables_of(shape: inspect.Type) -> list[str]:
    """Return the variables of all settings that are not in a list or a table of free keys."""
    return [
        f"{ENVIRONMENT_PREFIX}{'__'.join(keys).upper()}"
        for section in fields_of(shape)
        for keys in [
            (section.encode_name,),
            *((section.encode_name, field.encode_name) for field in fields_of(section.type)),
        ]
    ]


def resolve(tree: Any, shape: inspect.Type | None, key: str = "") -> Any:
    """Return a tree of settings with its texts read by their types; blanks around a text are dropped.

    In the file, only words of an enumeration and sizes and times with a unit are read so.
    """
    if isinstance(tree, VariableText):
        return _read_variable(tree, shape, key)
    if isinstance(tree, str):
        text = tree.strip()
        quantity = _quantity(text, key)
        return _choice(text, shape) if quantity is None else quantity
    if isinstance(tree, dict):
        table = cast("dict[str, Any]", tree)
        return {
            name: resolve(value, child_of(shape, name) if shape is not None else None, name)
            for name, value in table.items()
        }
    if isinstance(tree, list):
        inner = bare(shape) if shape is not None else None
        item = inner.item_type if isinstance(inner, inspect.VarTupleType) else None
        return [resolve(value, item) for value in cast("list[Any]", tree)]
    return tree


def _read_variable(text: VariableText, shape: inspect.Type | None, key: str) -> Any:
    """Read a variable by the type of its setting."""
    inner = bare(shape) if shape is not None else inspect.AnyType()
    if isinstance(inner, inspect.AnyType):
        return text  # its schema comes later
    if isinstance(inner, inspect.VarTupleType):
        return _read_list(text, inner)
    if isinstance(inner, inspect.StructType | inspect.DictType):
        value = _structured(text)
        return resolve(_as_variables(value), inner) if isinstance(value, dict) else str(text)
    return _read_scalar(text, inner, key)


def _read_scalar(text: str, shape: inspect.Type, key: str) -> Any:
    """Read a boolean, a number or a word; text that is none of it is returned as it is."""
    plain = str(text)
    if isinstance(shape, inspect.BoolType):
        return _BOOLEANS.get(plain.lower(), plain)
    if not isinstance(shape, inspect.IntType | inspect.FloatType):
        return _choice(plain, shape)
    quantity = _quantity(plain, key)
    if quantity is not None:
        return quantity
    with suppress(ValueError):
        number = float(plain)
        if isfinite(number):
            whole = int(number) if number.is_integer() else plain
            return whole if isinstance(shape, inspect.IntType) else number
    return plain


def _choice(text: str, shape: inspect.Type | None) -> str:
    """Return one of the words that a setting takes as the schema spells it."""
    choices = choices_of(shape) if shape is not None else ()
    return next((choice for choice in choices if choice.lower() == text.lower()), text)


def _quantity(text: str, key: str) -> int | float | None:
    """Return a size in bytes or a time in seconds that is written with its unit, such as `64MiB` or `10 min`."""
    units = next((units for end, units in _UNITS.items() if key.endswith(end)), _NO_UNITS)
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in units:
        return None
    value = float(match[1]) * units[match[2].lower()]
    return int(value) if value.is_integer() else value


def _read_list(text: VariableText, shape: inspect.VarTupleType) -> Any:
    """Read a list: JSON, TOML, or its items by commas or blanks; items that are paths may contain blanks."""
    value = _structured(text)
    if isinstance(value, dict):
        value = [value]
    item = bare(shape.item_type)
    if value is None:
        if isinstance(item, inspect.StructType):
            return str(text)
        pattern = r"[,;\n]" if isinstance(item, inspect.CustomType) else r"[,;\s]"
        value = [VariableText(_unquoted(piece)) for piece in re.split(pattern, text) if piece.strip()]
    return resolve(_as_variables(value), shape)


def _structured(text: str) -> dict[str, Any] | list[Any] | None:
    """Return the table or list that a text is, in JSON or as an inline value of TOML."""
    if not text.startswith(("[", "{")):
        return None
    try:
        return msgspec.json.decode(str(text))
    except msgspec.DecodeError:
        pass
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return None


def _as_variables(value: Any) -> Any:
    """Return a tree whose texts are read by their types too: in JSON, people quote numbers."""
    if isinstance(value, dict):
        return {name: _as_variables(below) for name, below in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_as_variables(below) for below in cast("list[Any]", value)]
    return VariableText(value) if isinstance(value, str) else value


def _unquoted(text: str) -> str:
    text = text.strip("\ufeff \t\r\n")
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].strip()
    return text
