import pytest

from protocol.gemini.schemas import json_schema
from protocol.structured.json_schema import InvalidSchema, compiled


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": "TYPE_UNSPECIFIED", "description": "d"}, {"description": "d"}),
        ({"type": "INTEGER", "nullable": True, "format": "int32"}, {"type": ["integer", "null"], "format": "int32"}),
        ({"type": ["STRING", "NULL"]}, {"type": ["string", "null"]}),
        ({"type": 6, "properties": {"a": {"type": 1}}}, {"type": "object", "properties": {"a": {"type": "string"}}}),
        ({"type": [5, 7], "items": {"type": 0}}, {"type": ["array", "null"], "items": {}}),
        ({"type": "STRING", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"type": "INTEGER", "enum": ["1", "x"]}, {"type": "integer", "enum": [1, "x"]}),
        ({"any_of": [{"type": "STRING"}], "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (
            {"type": "ARRAY", "items": {"type": "NUMBER", "minimum": "0.5"}, "minItems": "1"},
            {"type": "array", "items": {"type": "number", "minimum": 0.5}, "minItems": 1},
        ),
        (
            {"$defs": {"A": {"type": "BOOLEAN"}}, "$ref": "#/$defs/A"},
            {"$defs": {"A": {"type": "boolean"}}, "$ref": "#/$defs/A"},
        ),
        (True, True),
        (None, None),
    ],
)
def test_googles_schemas_become_json_schemas(given, expected):
    assert json_schema(given) == expected


@pytest.mark.parametrize("kind", [8, -1, True, 1.5, {"a": 1}, [[]], [None, "FUNNY"]])
def test_invalid_types_are_refused(kind):
    with pytest.raises(InvalidSchema):
        compiled(json_schema({"type": kind}))


def test_properties_keep_their_names_and_get_their_order():
    schema = json_schema(
        {
            "type": "OBJECT",
            "properties": {"type": {"type": "STRING"}, "any_of": {"type": "STRING"}, "c": {"type": "STRING"}},
            "property_ordering": ["c", "type"],
            "required": ["c"],
        }
    )
    assert list(schema["properties"]) == ["c", "type", "any_of"]
    assert schema["properties"]["type"] == {"type": "string"}
    assert "propertyOrdering" not in schema
    assert compiled(schema).problem({"c": "x"}) == ""
    assert compiled(schema).problem({"c": 1})
