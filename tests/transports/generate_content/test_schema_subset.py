"""JSON Schemas as the API accepts them: by examples, and by schemas that are made up."""

import jsonschema_rs
import pytest

from transports.generate_content.schema_subset import api_schema

NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
NODES = {"$defs": {"Node": NODE}}
OBJECT = {"type": "object"}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"$schema": "x", "type": "string", "$comment": "y"}, {"type": "string"}),
        ({"const": 5}, {"type": "integer", "enum": [5]}),
        ({"const": True}, {"type": "boolean"}),
        ({"enum": [1, 2]}, {"type": "integer", "enum": [1, 2]}),
        ({"enum": ["a", None]}, {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        ({"type": "number", "exclusiveMaximum": 1}, {"type": "number", "maximum": 1}),
        ({"type": "array", "uniqueItems": True}, {"type": "array", "description": "(uniqueItems: true)"}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (
            {"allOf": [{"required": ["a"]}, {"required": ["b", "a"]}], "type": "object"},
            {"type": "object", "required": ["a", "b"]},
        ),
        ({"properties": {"const": {"oneOf": []}, "$ref": {}}}, {"properties": {"const": {"anyOf": []}, "$ref": {}}}),
        ({"default": {"$ref": "#/none"}, "type": "object"}, {"default": {"$ref": "#/none"}, "type": "object"}),
        ({"required": None, "items": True}, {"items": True}),
    ],
)  # fmt: skip
def test_keywords_are_those_of_the_api(given, made):
    assert api_schema(given) == made


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"$ref": "#/$defs/Node"}, {"$ref": "#/$defs/Node"}),
        ({"$ref": "#/$defs/Node", "description": "x"}, {**NODE, "description": "x"}),
        ({"allOf": [{"$ref": "#/$defs/Node"}]}, {"$ref": "#/$defs/Node"}),
        ({"allOf": [{"$ref": "#/$defs/Node"}], "title": "x"}, {**NODE, "title": "x"}),
        ({"$ref": "#/properties/plain"}, {"type": "string"}),
        ({"$ref": "#/nowhere"}, OBJECT),
        ({"$ref": "https://example.com/a"}, OBJECT),
    ],
)
def test_references_lead_to_definitions_and_stand_alone(given, made):
    schema = {"type": "object", "properties": {"plain": {"type": "string"}, "a": given}, **NODES}
    assert api_schema(schema)["properties"]["a"] == made


def test_parts_of_parts_are_merged_and_recursive_ones_end():
    base = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    middle = {"allOf": [{"$ref": "#/$defs/Base"}, {"properties": {"b": {"type": "string"}}, "required": ["b"]}]}
    loop = {"allOf": [{"$ref": "#/$defs/Loop"}, {"type": "object"}]}
    schema = {"allOf": [{"$ref": "#/$defs/Middle"}, {"properties": {"c": {"$ref": "#/$defs/Loop"}}}]}
    made = api_schema({**schema, "$defs": {"Base": base, "Middle": middle, "Loop": loop}})
    assert made["properties"].keys() == {"a", "b", "c"}
    assert sorted(made["required"]) == ["a", "b"]
    assert made["type"] == "object"
    assert "allOf" not in str(made)


def test_older_definitions_and_references_at_the_root():
    older = {"$ref": "#/definitions/N", "definitions": {"N": {"properties": {"n": {"$ref": "#/definitions/N"}}}}}
    made = {"properties": {"n": {"$ref": "#/$defs/N"}}}
    assert api_schema(older) == {**made, "$defs": {"N": made}}
    assert (
        api_schema({"type": "object", "properties": {"x": {"$ref": "#"}}})["properties"]["x"]["properties"]["x"]
        == OBJECT
    )


def test_references_that_multiply_are_replaced_by_a_limited_number():
    level = {f"L{n}": {"anyOf": [{"$ref": f"#/$defs/L{n + 1}", "title": "x"}] * 2} for n in range(16)}
    made = api_schema({"$ref": "#/$defs/L0", "$defs": {**level, "L16": {"type": "string"}}})
    assert len(str(made)) < 200_000


def test_the_result_is_a_json_schema_that_accepts_what_the_original_accepts():
    given = {"type": "object", "properties": {"a": {"enum": ["x", 1, None, True]}, "b": {"const": "y"}}, **NODES}
    made = jsonschema_rs.validator_for(api_schema(given))
    for value in ({"a": "x", "b": "y"}, {"a": 1}, {"a": None}, {"a": True}):
        assert made.is_valid(value), value
    assert not made.is_valid({"b": "z"})
