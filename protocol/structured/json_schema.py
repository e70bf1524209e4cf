"""Compiles JSON Schemas that clients send, and checks values against them.

A schema comes from a stranger. So nothing is fetched for it (a `$ref` to another document is an error), and a schema
whose checks could take exponential time is refused: `{"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}`,
repeated through thirty definitions, asks for 2^30 checks.

A pattern that cannot be read here is shown to the model, and not checked: each language has its own patterns, and one
tool among many should not make a request fail.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NoReturn, cast

import jsonschema_rs
import msgspec

from protocol.model import Schema

_MOST_CHECKS = 100_000
"""The most subschemas that a schema may have, each counted as often as it is referred to."""
_MOST_DEPTH = 200
_REMEMBERED = 512
_MOST_ALIASES = 8
_SHOWN = 200
_ANY_STRING = frozenset(
    {"type", "title", "description", "default", "examples", "format", "deprecated", "readOnly", "writeOnly", "$comment"}
)
"""The keywords that leave a schema open to any string: `format` is not checked."""
_ANY_ARRAY = (_ANY_STRING - {"format"}) | {"items", "minItems", "maxItems", "uniqueItems"}
"""The keywords of an array whose elements are checked by `items` alone."""
_VALUES = frozenset({"const", "default", "enum", "examples"})
"""The keywords whose values may be null, and hold nothing to check."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class InvalidSchema(Exception):
    """The text is not a JSON Schema that can be checked; the message says why, in one sentence without a full stop."""


def compiled(schema: Schema) -> "CompiledSchema":
    """Compile a schema, or return it from the cache: clients send the same tools with each request.

    Raises:
        InvalidSchema: it is not a JSON Schema, refers to another document, or is too complex.

    """
    try:
        return CompiledSchema.of(_encode(schema))
    except RecursionError:
        raise InvalidSchema(f"it is nested more than {_MOST_DEPTH} levels deep") from None


class CompiledSchema:
    """A schema that values can be checked against."""

    @classmethod
    @lru_cache(maxsize=_REMEMBERED)
    def of(cls, encoded: bytes) -> "CompiledSchema":
        """Compile a schema in JSON, as `compiled`."""
        return cls(_decode(encoded))

    def __init__(self, schema: Schema) -> None:
        """Compile it.

        Raises:
            InvalidSchema: as `compiled`.

        """
        _check_size(schema)
        schema = cast("Schema", _without(schema, _is_unset))
        try:
            self._parts = _validators(schema)
        except InvalidSchema:
            schema, given = cast("Schema", _without(schema, _is_foreign_pattern)), schema
            if schema == given:
                raise
            self._parts = _validators(schema)
        self._schema = schema
        self._object = _object_pointer(schema)

    def problem(self, value: object) -> str:
        """Return what is wrong with a value, in words for the model; an empty text if nothing is."""
        if self._fits("#", value):
            return ""
        if self._object is not None and isinstance(value, dict):
            members = cast("dict[str, object]", value)
            for name, member in members.items():
                if problem := self.member_problem(name, member):
                    return problem
            required: list[str] = cast("dict[str, Any]", self._at(self._object)).get("required", [])
            if missing := [name for name in required if name not in members]:
                return f"the required member {missing[0]!r} is missing"
        return f"it does not fit its JSON Schema {_shown(self._schema)}"

    @property
    def root_types(self) -> frozenset[str]:
        """The JSON types that the schema's root names; empty if it names none."""
        schema = self._at(self._object) if self._object is not None else self._schema
        named = schema.get("type", ()) if isinstance(schema, dict) else ()
        return frozenset([named] if isinstance(named, str) else named)

    @property
    def by_members(self) -> bool:
        """Whether each member of an object can be checked without the others."""
        return self._object is not None

    def member_problem(self, name: str, value: object) -> str:
        """Return what is wrong with one member of the object (see `by_members`)."""
        pointer = self._member(name)
        if pointer is None or self._fits(pointer, value):
            return ""
        schema = self._at(pointer)
        if schema is False:
            return f"the member {name!r} is not allowed"
        return f"the member {name!r} does not fit its JSON Schema {_shown(schema)}"

    def takes_any_string(self, name: str) -> bool:
        """Return whether a member of the object may be any string (see `by_members`)."""
        pointer = self._member(name)
        schema = self._at(pointer) if pointer is not None else True
        if not isinstance(schema, dict):
            return schema is True
        named = schema.get("type", "string")
        return schema.keys() <= _ANY_STRING and (named == "string" or (isinstance(named, list) and "string" in named))

    def by_elements(self, name: str) -> bool:
        """Return whether a member of the object may be an array whose elements can be checked one by one."""
        pointer = self._member(name)
        schema = self._at(pointer) if pointer is not None else True
        if not isinstance(schema, dict):
            return schema is True
        named = schema.get("type", "array")
        return schema.keys() <= _ANY_ARRAY and (named == "array" or (isinstance(named, list) and "array" in named))

    def element_problem(self, name: str, value: object) -> str:
        """Return what is wrong with one element of a member (see `by_elements`)."""
        pointer = f"{self._member(name)}/items"
        if self._fits(pointer, value):
            return ""
        return f"an element of the member {name!r} does not fit its JSON Schema {_shown(self._at(pointer))}"

    def _member(self, name: str) -> str | None:
        """Return the pointer of the schema of a member; None: anything goes."""
        schema = cast("dict[str, Any]", self._at(cast("str", self._object)))
        if name in schema.get("properties", {}):
            return f"{self._object}/properties/{name.replace('~', '~0').replace('/', '~1')}"
        return f"{self._object}/additionalProperties" if "additionalProperties" in schema else None

    def _fits(self, pointer: str, value: object) -> bool:
        """Return whether a value fits a subschema, by `is_valid`: listing errors can take exponential time."""
        validator = self._parts.get(pointer)
        return validator is None or validator.is_valid(value)

    def _at(self, pointer: str) -> Schema:
        found: Any = self._schema
        for step in pointer.split("/")[1:]:
            found = found[step.replace("~1", "/").replace("~0", "~")]
        return found


def _validators(schema: Schema) -> "jsonschema_rs.ValidatorMap":
    """Return the validators of all subschemas by their pointers.

    Raises:
        InvalidSchema: it is not a JSON Schema, or refers to another document.

    """
    try:
        jsonschema_rs.validator_for(schema, retriever=_refuse_to_fetch)
        return jsonschema_rs.validator_map_for(schema, retriever=_refuse_to_fetch)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        line = getattr(error, "message", str(error)).partition("\n")[0].rstrip(".")
        raise InvalidSchema(line[:_SHOWN]) from None


def _without(node: Any, drops: Callable[[str, Any], bool]) -> Any:
    """Return a schema without the keywords that `drops`."""
    if isinstance(node, list):
        return [_without(child, drops) for child in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    members = cast("dict[str, Any]", node).items()
    return {
        name: value if name in _VALUES else _without(value, drops)
        for name, value in members
        if name in _VALUES or not drops(name, value)
    }


def _is_unset(_: str, value: Any) -> bool:
    """Return whether a keyword is null: Go's clients write an empty list so (`"required": null`)."""
    return value is None


def _is_foreign_pattern(name: str, value: Any) -> bool:
    """Return whether a keyword is a pattern that cannot be read here: JavaScript knows more."""
    if name != "pattern" or not isinstance(value, str):
        return False
    try:
        jsonschema_rs.validator_for({"pattern": value})
    except (jsonschema_rs.ValidationError, ValueError):
        return True
    return False


def _shown(schema: Schema) -> str:
    text = _encode(schema).decode()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _refuse_to_fetch(uri: str) -> NoReturn:
    raise ValueError(f"the reference '{uri[:_SHOWN]}' leads to another document")


_IN_PARTS = frozenset({"patternProperties", "dependentSchemas", "unevaluatedProperties", "propertyNames", "if", "not"})
_APPLIED = frozenset({"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", *_IN_PARTS})
"""Keywords by which the check of one member can depend on another, or on the object as a whole."""


def _object_pointer(schema: Schema) -> str | None:
    """Return the pointer of the root's object if its members can be checked one by one; follows a root `$ref`."""
    pointer, found = "#", cast("Any", schema)
    for _ in range(_MOST_ALIASES):
        reference = cast("dict[str, Any]", found).get("$ref") if isinstance(found, dict) else None
        if reference is None:
            break
        if not isinstance(reference, str) or not reference.startswith("#/") or "%" in reference:
            return None
        pointer, found = reference, _lookup(schema, reference)
    if not isinstance(found, dict):
        return None
    keywords = cast("dict[str, Any]", found)
    return pointer if not keywords.keys() & _APPLIED and keywords.get("type") in ("object", None) else None


def _lookup(schema: Any, pointer: str) -> Any:
    """Return the subschema at a pointer, or None."""
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(schema, dict) or key not in schema:
            return None
        schema = cast("dict[str, Any]", schema)[key]
    return schema


def _check_size(schema: Schema) -> None:
    """Raise InvalidSchema if the schema is too deep, or has too many subschemas once its references are followed."""
    sizes: dict[int, int] = {}

    def size(node: Any, depth: int) -> int:
        if depth > _MOST_DEPTH:
            raise InvalidSchema(f"it is nested more than {_MOST_DEPTH} levels deep")
        if isinstance(node, dict):
            children = list(cast("dict[str, Any]", node).values())
            reference = cast("dict[str, Any]", node).get("$ref")
            if isinstance(reference, str) and reference.startswith("#"):
                children.append(_lookup(schema, reference))
        elif isinstance(node, list):
            children = cast("list[Any]", node)
        else:
            return 0
        identity = id(cast("object", node))
        if identity not in sizes:
            sizes[identity] = 1  # a cycle ends here, because it goes one level down in the value each time
            sizes[identity] = 1 + sum(size(child, depth + 1) for child in children)
            if sizes[identity] > _MOST_CHECKS:
                raise InvalidSchema(f"it has more than {_MOST_CHECKS} subschemas with its references")
        return sizes[identity]

    size(schema, 0)
