"""Converts Google's schemas, a subset of OpenAPI 3.0, to JSON Schema.

Types are lower or upper case (`STRING`) or numbers of the enum, `nullable` adds null, numbers of the form int64 may be
strings, and `propertyOrdering` says in which order the model should write the properties. Keywords that Google does not
define, which clients send as well, stay as they are. Gemini CLI has types in upper case in its JSON Schemas, too.
"""

import re
from typing import Any, cast

from protocol.model import Schema

_TYPES = ("type_unspecified", "string", "number", "integer", "boolean", "array", "object", "null")
"""Google's enum of types, by number."""
_BY_NAME = frozenset({"properties", "$defs", "defs", "definitions", "patternProperties"})
"""Keywords with one schema per name."""
_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SINGLE = frozenset({"items", "additionalProperties", "not"})
_NUMBER = re.compile(r"-?\d{1,18}(\.\d{1,18})?")
_INTEGER = re.compile(r"-?\d{1,18}")
_NUMBERS = frozenset(
    {
        *("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"),
        *("minimum", "maximum"),
    }
)
_CAMEL = {
    "any_of": "anyOf",
    "one_of": "oneOf",
    "all_of": "allOf",
    "prefix_items": "prefixItems",
    "additional_properties": "additionalProperties",
    "property_ordering": "propertyOrdering",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "ref": "$ref",
}


def json_schema(schema: Any) -> Schema:
    """Return a schema of Google's as a JSON Schema; a value of another type stays as it is."""
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for written, value in cast("dict[str, Any]", schema).items():
        name = _CAMEL.get(written, written)
        if name in _BY_NAME and isinstance(value, dict):
            found[name] = {key: json_schema(one) for key, one in cast("dict[str, Any]", value).items()}
        elif name in _LISTS and isinstance(value, list):
            found[name] = [json_schema(one) for one in cast("list[Any]", value)]
        elif name in _SINGLE:
            found[name] = json_schema(value)
        elif name in _NUMBERS and isinstance(value, str) and _NUMBER.fullmatch(value):
            found[name] = float(value) if "." in value else int(value)
        else:
            found[name] = value
    order, properties = found.pop("propertyOrdering", None), found.get("properties")
    if isinstance(order, list) and isinstance(properties, dict):
        names = [name for name in cast("list[Any]", order) if name in properties]
        found["properties"] = {name: properties[name] for name in (*names, *cast("dict[str, Any]", properties))}
    return _with_type(found)


def _type_name(written: Any) -> Any:
    """Return the name of a type; an invalid type stays, so that the schema is refused."""
    if isinstance(written, str):
        return written.lower()
    if isinstance(written, int) and not isinstance(written, bool) and 0 <= written < len(_TYPES):
        return _TYPES[written]
    return cast("Any", written)


def _with_type(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its type in lower case, null as a type, and members of an enum that have its type."""
    nullable, kind = schema.pop("nullable", None) is True, schema.pop("type", None)
    written: list[Any] = cast("list[Any]", kind) if isinstance(kind, list) else [kind]
    kinds = [name for name in map(_type_name, written) if name not in (None, _TYPES[0])]
    extra = ["null"] if nullable and kinds and "null" not in kinds else []
    found: dict[str, Any] = {"type": [*kinds, *extra] if len(kinds) + len(extra) > 1 else kinds[0]} if kinds else {}
    found |= schema
    members: Any = schema.get("enum")
    if isinstance(members, list):
        if kinds == ["integer"]:  # Google has texts for numbers, too
            members = [
                int(one) if isinstance(one, str) and _INTEGER.fullmatch(one) else one
                for one in cast("list[Any]", members)
            ]
        found["enum"] = [*members, *([None] if nullable and None not in members else [])]
    if nullable and isinstance(schema.get("anyOf"), list):
        found["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    return found
