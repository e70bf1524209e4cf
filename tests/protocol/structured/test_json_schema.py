"""Schemas that strangers send. `jsonschema`, another implementation, judges what fits."""

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.structured.json_schema import InvalidSchema, compiled

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        "boss": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        "sch/lüssel ~": {"type": ["string", "null"]},
    },
    "required": ["name"],
    "additionalProperties": False,
}
VALUES = [
    {"name": "x"},
    {"name": "x", "age": 3, "tags": ["a"], "boss": {"name": "y", "boss": None}},
    {"name": "x", "sch/lüssel ~": None},
    {},
    {"name": 1},
    {"name": "x", "age": -1},
    {"name": "x", "tags": ["c"]},
    {"name": "x", "boss": {"age": 1}},
    {"name": "x", "other": 1},
    {"name": "x", "sch/lüssel ~": 1},
    [],
    "x",
    None,
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_a_value_fits_as_another_implementation_says(value):
    fits = jsonschema.Draft202012Validator(PERSON).is_valid(value)
    assert (compiled(PERSON).problem(value) == "") == fits


@pytest.mark.parametrize("value", [value for value in VALUES if isinstance(value, dict)], ids=str)
def test_a_problem_of_a_member_is_found_by_the_member_alone(value):
    schema = compiled(PERSON)
    problems = [problem for name, member in value.items() if (problem := schema.member_problem(name, member))]
    assert bool(problems) == bool(schema.problem(value)) or "name" not in value
    assert all(repr(name) in " ".join(problems) for name in value if schema.member_problem(name, value[name]))


@pytest.mark.parametrize(
    ("schema", "name", "any_string"),
    [
        (PERSON, "name", True),
        (PERSON, "sch/lüssel ~", True),
        (PERSON, "age", False),
        (PERSON, "tags", False),
        (PERSON, "unknown", False),
        ({"type": "object"}, "unknown", True),
        ({"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}}, "a", False),
        ({"type": "object", "properties": {"a": {"enum": ["x"]}}}, "a", False),
        ({"type": "object", "properties": {"a": {"type": "string", "title": "A", "description": "b"}}}, "a", True),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "a", True),
    ],
)
def test_members_that_may_be_any_string(schema, name, any_string):
    assert compiled(schema).takes_any_string(name) == any_string


@pytest.mark.parametrize(
    ("schema", "by_members"),
    [
        (PERSON, True),
        ({"$ref": "#/$defs/P", "$defs": {"P": PERSON}}, True),
        ({"$ref": "#/definitions/P", "definitions": {"P": {"type": "object"}}}, True),
        ({"anyOf": [{"type": "object"}, {"type": "array"}]}, False),
        ({"type": "object", "patternProperties": {"^x": {"type": "string"}}}, False),
        ({"type": "array"}, False),
        ({"type": ["object", "null"]}, False),
        (True, False),
    ],
)
def test_whether_members_can_be_checked_one_by_one(schema, by_members):
    assert compiled(schema).by_members == by_members


def blowup(levels):
    definitions = {"d0": {"type": "string"}}
    for level in range(1, levels):
        step = {"$ref": f"#/$defs/d{level - 1}"}
        definitions[f"d{level}"] = {"anyOf": [step, step]}
    return {"$defs": definitions, "properties": {"x": {"$ref": f"#/$defs/d{levels - 1}"}}}


def nested(depth):
    schema = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "text"}, "text"),
        ({"properties": {"a": 5}}, "5"),
        ({"patternProperties": {"(": {}}}, "regex"),
        ({"$ref": "http://127.0.0.1:9/schema"}, "another document"),
        ({"$ref": "file:///etc/passwd"}, "another document"),
        ({"$ref": "#/$defs/missing"}, "missing"),
        ({"$schema": "http://example.com/own"}, "example.com"),
        (blowup(40), "subschemas"),
        (nested(250), "levels deep"),
        (nested(5000), "levels deep"),
    ],
    ids=["type", "member", "pattern", "http", "file", "missing", "dialect", "blowup", "deep", "deeper"],
)
def test_a_schema_that_cannot_be_used_is_named(schema, words):
    with pytest.raises(InvalidSchema, match=words):
        compiled(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": "object", "properties": {}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "title": "T"},
        {"$ref": "#"},
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"type": ["string", "null"], "nullable": True, "x-own": {"a": 1}},
        {"enum": [1, 2.5, None, "x"]},
        blowup(10),
    ],
    ids=str,
)
def test_schemas_of_real_clients_are_taken(schema):
    compiled(schema).problem({"next": {"next": {}}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@given(JSON)
@settings(max_examples=60)
def test_a_recursive_schema_judges_as_another_implementation(value):
    schema = {
        "type": "object",
        "properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"type": "integer"}]}, "b": {"type": "array"}},
    }
    assert (compiled(schema).problem(value) == "") == jsonschema.Draft202012Validator(schema).is_valid(value)


def test_the_same_schema_is_compiled_once():
    assert compiled({"type": "integer", "x": 1}) is compiled({"type": "integer", "x": 1})


@pytest.mark.parametrize("pattern", ["^[\\w-.]+$", "[^]", "\\d{,3}", "("])
def test_a_pattern_that_cannot_be_read_is_not_checked(pattern):
    members = {"a": {"type": "string", "pattern": pattern}, "pattern": {"type": "string", "pattern": "^x$"}}
    schema = compiled({"type": "object", "properties": members, "default": {"pattern": pattern}})
    assert schema.problem({"a": "anything", "pattern": "x"}) == ""
    assert schema.problem({"a": 5})
    assert schema.problem({"pattern": "y"})
