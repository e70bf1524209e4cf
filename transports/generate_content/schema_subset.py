"""Turns JSON Schemas into those that the API accepts.

Theory of operation. The API documents the keywords that it knows, and ignores others. It refuses a `$ref` that leads
to no definition, and other keywords next to a `$ref`. Here `definitions` become `$defs`. A reference to another place,
or with keywords next to it, is replaced by its target, unless it is recursive. `const` becomes an `enum` of one member
and an exclusive bound the nearest one; the parts of `allOf` are merged. Any other keyword that limits values goes into
the description, where the model reads it. The gateway checks answers by the original schema, so nothing gets through
that the client has excluded. Schemas that are nested too deeply are left out.

    {"$ref": "#/definitions/A", "nullable": true}   -> the schema A with "nullable": true
    {"type": "integer", "exclusiveMinimum": 0}      -> {"type": "integer", "minimum": 1}
    {"type": "array", "uniqueItems": true}          -> {"type": "array", "description": "(uniqueItems: true)"}

Source: "GenerateContentRequest".
"""

import json
from functools import lru_cache
from typing import Any, cast

import msgspec

from transports.generate_content.nesting import MOST_LEVELS, is_too_deep

_KNOWN = frozenset(
    {
        *("$id", "$anchor", "$defs", "$ref", "type", "format", "title", "description", "enum", "items", "prefixItems"),
        *("minItems", "maxItems", "minimum", "maximum", "anyOf", "properties", "additionalProperties", "required"),
        *("propertyOrdering", "nullable", "default", "pattern", "minLength", "maxLength"),
        *("minProperties", "maxProperties", "example"),
    }
)
"""Keywords of the API's JSON Schemas, and of its own schemas."""
_SILENT = frozenset({"$schema", "$comment", "$vocabulary", "deprecated", "readOnly", "writeOnly", "contentEncoding"})
"""Keywords that limit no values."""
_BY_NAME = frozenset({"properties", "$defs"})
_LISTS = frozenset({"anyOf", "prefixItems"})
_SINGLE = frozenset({"items", "additionalProperties"})
_LONGEST_NOTE = 500
_WITHIN = 2
"""The levels between a schema and one in its `properties`, or in a list of its own."""
_REMEMBERED = 512
_MOST_REPLACED = 200
_TYPES = {"str": "string", "bool": "boolean", "int": "integer", "float": "number", "NoneType": "null", "list": "array"}

Node = dict[str, Any]


def api_schema(schema: Node) -> Node:
    """Return a JSON Schema with the same meaning that the API accepts."""
    return msgspec.json.decode(_converted(msgspec.json.encode(schema)))


@lru_cache(maxsize=_REMEMBERED)
def _converted(encoded: bytes) -> bytes:
    """Convert a schema in JSON; clients send the same ones with each request."""
    root = msgspec.json.decode(encoded)
    made = _Conversion(root).node(root, ())
    return msgspec.json.encode(_shallow(made, MOST_LEVELS) if is_too_deep(made) else made)


def _shallow(schema: Any, levels: int) -> Any:
    """Return a converted schema without what lies deeper than this many levels; there, all values are allowed."""
    if not isinstance(schema, dict):
        return schema
    found: Node = {}
    for name, value in cast("Node", schema).items():
        if name in _BY_NAME and levels > _WITHIN:
            found[name] = {key: _shallow(one, levels - _WITHIN) for key, one in cast("Node", value).items()}
        elif name in _LISTS and levels > _WITHIN:
            found[name] = [_shallow(one, levels - _WITHIN) for one in cast("list[Any]", value)]
        elif name in _SINGLE and levels > 1:
            found[name] = _shallow(value, levels - 1)
        elif not is_too_deep(value, levels - 1):
            found[name] = value
    if "properties" not in found:
        found.pop("required", None)
    return found


class _Conversion:
    """Converts the parts of one schema."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._replaced = 0
        """The number of references that their targets have replaced."""

    def node(self, schema: Any, inside: tuple[str, ...]) -> Any:
        """Return a converted schema; `inside` are the references that it replaces."""
        if not isinstance(schema, dict):
            return schema
        given = cast("Node", schema)
        reference = given.get("$ref")
        if not isinstance(reference, str):
            plain, merged = self._plain(given, inside)
            inside = (*inside, *merged)
            return self.node(plain, inside) if "$ref" in plain else self._members(plain, inside)
        target = self._target(reference)
        place = reference.replace("#/definitions/", "#/$defs/", 1)
        defined = bool(target) and place.startswith("#/$defs/") and "/" not in place.removeprefix("#/$defs/")
        ends = reference in inside or self._replaced >= _MOST_REPLACED
        if defined and (ends or (given is not self._root and all(name.startswith("$") for name in given))):
            return {"$ref": place}
        if not target or ends:
            return {"type": "object"}
        self._replaced += 1
        beside = {name: value for name, value in given.items() if name != "$ref"}
        return self.node({**target, **beside}, (*inside, reference))

    def _target(self, reference: str) -> Node:
        """Return the schema that a reference leads to; an empty one: to nothing."""
        found: Any = self._root
        for written in reference.split("/")[1:]:
            step = written.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list):
                members = cast("list[Any]", found)
                found = members[int(step)] if step.isdigit() and int(step) < len(members) else None
            else:
                found = cast("Node", found).get(step) if isinstance(found, dict) else None
        return cast("Node", found) if isinstance(found, dict) and reference.startswith("#") else {}

    def _members(self, given: Node, inside: tuple[str, ...]) -> Node:
        found: Node = {}
        notes: list[str] = []
        for name, value in given.items():
            if name in _BY_NAME and isinstance(value, dict):
                found[name] = {key: self.node(one, inside) for key, one in cast("Node", value).items()}
            elif name in _LISTS and isinstance(value, list):
                found[name] = [self.node(one, inside) for one in cast("list[Any]", value)]
            else:
                found[name] = self.node(value, inside) if name in _SINGLE else value
        for name in found.keys() - _KNOWN:
            value = found.pop(name)
            if name not in _SILENT:
                notes.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
        note = f"({'; '.join(sorted(notes))})"
        if notes and len(note) <= _LONGEST_NOTE:
            found["description"] = f"{found.get('description') or ''} {note}".strip()
        return found

    def _plain(self, given: Node, inside: tuple[str, ...]) -> tuple[Node, list[str]]:
        """Return the keywords of a schema, with those that the API lacks in words of those that it has.

        The references come with them whose targets are merged.
        """
        found: Node = {}
        for name, value in given.items():
            if value is not None or name in {"const", "default"}:
                sent = {"definitions": "$defs", "oneOf": "anyOf"}.get(name, name)
                both = sent == "$defs" and sent in found
                found[sent] = {**found[sent], **cast("Node", value)} if both else value
        parts = [cast("Node", part) for part in found.pop("allOf", None) or () if isinstance(part, dict)]
        alone, merged = len(parts) == 1, list[str]()
        while parts and self._replaced < _MOST_REPLACED:  # a part may consist of parts
            part = parts.pop(0)
            reference = str(part.get("$ref", ""))
            target = {} if alone or reference in {*inside, *merged} else self._target(reference)
            own = {name: one for name, one in part.items() if name != "$ref" or alone}
            parts += [one for of in (part, target) for one in of.get("allOf") or () if isinstance(one, dict)]
            found = _merged(found, {**target, **own})
            found.pop("allOf", None)
            self._replaced += bool(target)
            merged += [reference] if target else []
        if "const" in found:
            found["enum"] = [found.pop("const")]
        for bound, nearest, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
            limit = found.get(bound)
            if isinstance(limit, int | float) and not isinstance(limit, bool) and nearest not in found:
                del found[bound]
                found[nearest] = limit + step if found.get("type") == "integer" else limit
        return _enumerated(found), merged


def _merged(one: Node, other: Node) -> Node:
    """Return a schema with the keywords of another one; of keywords that both have, the first one counts."""
    found = {**other, **one}
    for name in ("properties", "$defs"):
        if name in one and name in other:
            found[name] = {**other[name], **one[name]}
    if "required" in one and "required" in other:
        found["required"] = [*one["required"], *(name for name in other["required"] if name not in one["required"])]
    return found


def _enumerated(found: Node) -> Node:
    """Return a schema whose enum has texts and numbers only; other members become types."""
    members: Any = found.get("enum")
    if not isinstance(members, list):
        return found
    given = cast("list[Any]", members)
    kept = [one for one in given if isinstance(one, str | int | float) and not isinstance(one, bool)]
    kind = _kinds(given)
    if kept == given:
        return found if "type" in found else {"type": kind, **found}
    rest = {name: value for name, value in found.items() if name != "enum"}
    if not kept:
        return {"type": kind, **rest}
    described = {name: rest.pop(name) for name in ("title", "description", "default", "$defs") if name in rest}
    others = [one for one in given if not any(one is other for other in kept)]
    return {**described, "anyOf": [{"type": _kinds(kept), "enum": kept}, {"type": _kinds(others)}]}


def _kinds(values: list[Any]) -> str | list[str]:
    """Return the types of values, as `type` has them."""
    kinds = sorted({_TYPES.get(value.__class__.__name__, "object") for value in values})
    return kinds[0] if len(kinds) == 1 else kinds
