"""Decodes bodies as clients write them: directly if they have the expected types, else after a repair.

Most bodies fit, and are decoded in one step. Any other is decoded into plain values and repaired where only one meaning
is possible, before it is converted:

- An optional field that is null or empty (`""`, `[]`, `{}`) is unset.
- A single value where a list is expected becomes a list of one.
- A number or boolean may be a string with blanks around it, as in a form, and `1.0` is an integer.
"""

import re
from collections.abc import Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec.inspect import (
    AnyType,
    BoolType,
    DictType,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    type_info,
)

BodyT = TypeVar("BodyT")

_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
"""A step of a path as msgspec reports it: a field, or an index."""
_JSON_TYPES: tuple[tuple[type, tuple[type[Type], ...]], ...] = (
    (dict, (StructType, DictType)),
    (list, (ListType,)),
    (str, (StrType, LiteralType, IntType, FloatType, BoolType)),
    (bool, (BoolType,)),
    (int, (IntType, FloatType, LiteralType, BoolType)),
    (float, (FloatType, IntType, LiteralType)),
    (type(None), (NoneType,)),
)
"""The types that a value of JSON may be meant for."""


class LenientDecoder(Generic[BodyT]):
    """Decodes JSON, and converts the fields of forms, to a struct."""

    def __init__(self, kind: type[BodyT]) -> None:
        """Decode to `kind`, a struct."""
        self._kind, self._shape = kind, type_info(kind)
        self._decoder = msgspec.json.Decoder(kind)
        shape = cast("StructType", self._shape)
        self.fields = tuple(field.encode_name for field in shape.fields)
        """The names of the fields."""

    def decode(self, body: bytes) -> BodyT:
        """Decode a JSON body.

        Raises:
            msgspec.DecodeError: the body is not JSON.
            msgspec.ValidationError: a field is wrong; the message names it, and the values that it may have.

        """
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError:
            value = msgspec.json.decode(body)
        return self.convert(value)

    def convert(self, value: Any) -> BodyT:
        """Convert plain values, such as the fields of a form.

        Raises:
            msgspec.ValidationError: as `decode`.

        """
        repaired = _repaired(value, self._shape)
        try:
            return msgspec.convert(repaired, self._kind, strict=False)
        except msgspec.ValidationError as error:
            path = str(error).partition(" - at `$")[2]
            allowed = _allowed(repaired, self._shape, _STEP.findall(path))
            if not allowed:
                raise
            raise msgspec.ValidationError(f"Invalid value: use {allowed} - at `${path}") from None


def _repaired(value: Any, shape: Type) -> Any:
    """Return a value as its type needs it; unchanged if no type fits."""
    fitting = _member(value, shape)
    match fitting:
        case ListType():
            items = cast("list[Any]", value) if isinstance(value, list) else [value]
            return [_repaired(item, fitting.item_type) for item in items]
        case StructType():
            return _repaired_fields(value, fitting)
        case IntType() | FloatType() | BoolType() | LiteralType() if isinstance(value, str):
            return value.strip()
        case LiteralType() if isinstance(value, float) and value.is_integer():
            return int(value)
        case _:
            return value


def _repaired_fields(value: dict[str, Any], shape: StructType) -> dict[str, Any]:
    """Return the fields that a struct has, without those that are optional and empty."""
    fields: dict[str, Any] = {}
    if shape.tag_field is not None and shape.tag_field in value:
        fields[shape.tag_field] = value[shape.tag_field]
    for field in shape.fields:
        given = value.get(field.encode_name)
        repaired = _repaired(given, field.type)
        if field.encode_name in value and (field.required or not (_is_empty(given) or _is_empty(repaired))):
            fields[field.encode_name] = repaired
    return fields


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _member(value: Any, shape: Type) -> Type | None:
    """Return the type, or the member of a union, that a value is meant for; a list also for one of its items."""
    fitting = _fitting(value, shape)
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        fitting = [
            one
            for one in fitting
            if not isinstance(one, StructType) or one.tag in (None, fields.get(one.tag_field or ""))
        ]
    if fitting or value is None:
        return next(iter(fitting), None)
    return next((one for one in _members(shape) if isinstance(one, ListType) and _fitting(value, one.item_type)), None)


def _members(shape: Type) -> tuple[Type, ...]:
    return shape.types if isinstance(shape, UnionType) else (shape,)


def _fitting(value: Any, shape: Type) -> list[Type]:
    """Return the members of a type that a value of this JSON type may be meant for."""
    meant = next(meant for kind, meant in _JSON_TYPES if isinstance(value, kind))
    return [member for member in _members(shape) if isinstance(member, (AnyType, *meant))]


def _allowed(value: Any, shape: Type, path: Sequence[tuple[str, str]]) -> str:
    """Return the values that are allowed at a path, such as `'a' or 'b'`; empty if they cannot be listed."""
    for name, index in path:
        tags = [one.tag for one in _members(shape) if isinstance(one, StructType) and one.tag_field == name]
        if tags:
            return _listed(tags)
        fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        fitting = _member(value, shape)
        if isinstance(fitting, ListType) and index:
            value, shape = cast("list[Any]", value)[int(index)], fitting.item_type
        elif isinstance(fitting, StructType) and name in fields:
            value, shape = fields[name], next(one.type for one in fitting.fields if one.encode_name == name)
        else:
            return ""
    return _listed([value for member in _members(shape) if isinstance(member, LiteralType) for value in member.values])


def _listed(values: Sequence[Any]) -> str:
    *others, last = (f"'{value}'" for value in dict.fromkeys(map(str, values))) if values else ("",)
    return f"{', '.join(others)} or {last}" if others else last
