"""Decodes bodies as clients write them: directly if they have the expected types, else after a repair.

Most bodies fit, and are decoded in one step. Any other is decoded into plain values and repaired where only one meaning
is possible, before it is converted:

- An optional field that is null or empty (`""`, `[]`, `{}`) is unset. If its default is `UNSET`, an empty value stays:
  it says that the field was sent.
- A single value where a list is expected becomes a list of one.
- A number or boolean may be a string with blanks around it, as in a form, and `1.0` is an integer.
"""

import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial
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
Repair = Callable[[Any], Any]

_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
"""A step of a path as msgspec reports it: a field, or an index."""
_LISTED = 7
"""The most values that an error message lists."""
_MEANT: dict[type, tuple[type[Type], ...]] = {
    dict: (AnyType, StructType, DictType),
    list: (AnyType, ListType),
    str: (AnyType, StrType, LiteralType, IntType, FloatType, BoolType),
    bool: (AnyType, BoolType),
    int: (AnyType, IntType, FloatType, LiteralType, BoolType),
    float: (AnyType, FloatType, IntType, LiteralType),
    type(None): (AnyType, NoneType),
}
"""The types that a value of each JSON type may be meant for."""


class LenientDecoder(Generic[BodyT]):
    """Decodes JSON, and converts the fields of forms, to a struct."""

    def __init__(self, kind: type[BodyT]) -> None:
        """Decode to `kind`, a struct."""
        self._kind = kind
        self._decoder = msgspec.json.Decoder(kind)
        shape = cast("StructType", self._shape)
        self.fields = tuple(field.encode_name for field in shape.fields)
        """The names of the fields."""

    @cached_property
    def _shape(self) -> Type:
        return type_info(self._kind)

    @cached_property
    def _repairs(self) -> dict[type, Repair]:
        return _repairs(self._shape)

    def decode(self, body: bytes) -> BodyT:
        """Decode a JSON body.

        Raises:
            msgspec.DecodeError: the body is not JSON.
            msgspec.ValidationError: a field is wrong; the message names it, and the values that it may have.

        """
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            try:
                value = msgspec.json.decode(body)
            except msgspec.ValidationError:  # a number that no type holds
                raise error from None
        return self.convert(value)

    def convert(self, value: Any) -> BodyT:
        """Convert plain values, such as the fields of a form.

        Raises:
            msgspec.ValidationError: as `decode`.

        """
        repaired = _repaired(value, self._repairs)
        try:
            return msgspec.convert(repaired, self._kind, strict=False)
        except msgspec.ValidationError as error:
            path = str(error).partition(" - at `$")[2]
            allowed = _allowed(repaired, self._shape, _STEP.findall(path))
            if not allowed:
                raise
            raise msgspec.ValidationError(f"Invalid value: use {allowed} - at `${path}") from None


def _repaired(value: Any, repairs: dict[type, Repair]) -> Any:
    repair = repairs.get(value.__class__)
    return value if repair is None else repair(value)


def _repairs(shape: Type) -> dict[type, Repair]:
    """Return what repairs a value for a type, by the type of the value; others stay as they are.

    A body may have a million values, so that all that does not depend on them is done here.
    """
    found = {kind: _repair(kind, _fitting(kind, shape), shape) for kind in _MEANT}
    return {kind: repair for kind, repair in found.items() if repair is not None}


def _repair(kind: type, fitting: Sequence[Type], shape: Type) -> Repair | None:
    """Return what repairs a value of one type, which is meant for one of the `fitting` types."""
    first = fitting[0] if fitting else None
    lists = [one for one in _members(shape) if isinstance(one, ListType) and _fitting(kind, one.item_type)]
    if first is None:
        return partial(_as_list, _repairs(lists[0].item_type)) if lists and kind is not type(None) else None
    structs = {one.tag: _Fields(one) for one in fitting if isinstance(one, StructType)}
    if kind is dict and structs:
        return partial(_as_struct, structs, next(one.tag_field for one in fitting if isinstance(one, StructType)))
    if kind is list and isinstance(first, ListType) and (items := _repairs(first.item_type)):
        return partial(_with_items, items)
    if kind is str and not isinstance(first, StrType | AnyType):
        return str.strip
    if kind is float and isinstance(first, LiteralType):
        return lambda value: int(value) if value.is_integer() else value
    return None


def _as_list(items: dict[type, Repair], value: Any) -> list[Any]:
    return [_repaired(value, items)]


def _with_items(items: dict[type, Repair], values: list[Any]) -> list[Any]:
    return [value if (repair := items.get(value.__class__)) is None else repair(value) for value in values]


def _as_struct(structs: "dict[Any, _Fields]", tag_field: str | None, value: dict[str, Any]) -> dict[str, Any]:
    """Repair the fields of the struct that the tag names; without such a struct nothing is changed."""
    tag = None if tag_field is None else value.get(tag_field)
    fields = structs.get(tag) if tag is None or isinstance(tag, str | int) else None
    return value if fields is None else fields.repaired(value)


class _Fields:
    """Repairs the fields of one struct."""

    def __init__(self, shape: StructType) -> None:
        optional = [field for field in shape.fields if not field.required]
        self._noted = frozenset(
            field.encode_name
            for field in optional
            if field.default is field.default_factory is msgspec.NODEFAULT  # how msgspec shows `UNSET`
        )
        self._optional = frozenset(field.encode_name for field in optional) - self._noted
        self._repairs = {field.encode_name: _repairs(field.type) for field in shape.fields}

    def repaired(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return the fields without those that are optional and empty."""
        fields: dict[str, Any] = {}
        for name, given in value.items():
            repaired = _repaired(given, self._repairs.get(name, {}))
            empty = _is_empty(given) or _is_empty(repaired)
            if not ((name in self._optional and empty) or (name in self._noted and given is None)):
                fields[name] = repaired
        return fields


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _member(value: Any, shape: Type) -> Type | None:
    """Return the type, or the member of a union, that a repaired value is meant for."""
    fitting = _fitting(value.__class__, shape)
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        fitting = [
            one
            for one in fitting
            if not isinstance(one, StructType) or one.tag in (None, fields.get(one.tag_field or ""))
        ]
    return next(iter(fitting), None)


def _members(shape: Type) -> tuple[Type, ...]:
    return shape.types if isinstance(shape, UnionType) else (shape,)


def _fitting(kind: type, shape: Type) -> list[Type]:
    """Return the members of a type that a value of this JSON type may be meant for."""
    return [member for member in _members(shape) if isinstance(member, _MEANT[kind])]


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
    shown = [f"'{value}'" for value in dict.fromkeys(map(str, values))]
    if len(shown) > _LISTED:
        return ", ".join([*shown[:_LISTED], "…"])
    *others, last = shown or ("",)
    return f"{', '.join(others)} or {last}" if others else last
