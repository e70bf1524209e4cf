"""JSON in pieces. The standard library's decoder judges what is released."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.structured.json_reader import InvalidJson, JsonReader
from protocol.structured.json_schema import compiled

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "text": {"type": "string"}, "kind": {"enum": ["a", "b"]}},
    "required": ["n"],
    "additionalProperties": False,
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


def pieces(text, cuts):
    ends = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def read(schema, parts):
    reader = JsonReader(schema)
    return reader, [reader.feed(part) for part in parts]


@given(OBJECTS, st.booleans(), st.sampled_from([None, 2]), st.lists(st.integers(0, 500), max_size=12))
@settings(max_examples=150)
def test_any_object_in_any_pieces_is_released_as_the_same_value(value, ascii_only, indent, cuts):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    reader, released = read(None, pieces(text, cuts))
    assert reader.done
    assert json.loads("".join(released)) == value == reader.value


@given(OBJECTS, st.lists(st.integers(0, 500), max_size=12))
@settings(max_examples=100)
def test_what_is_released_does_not_depend_on_the_pieces(value, cuts):
    text = json.dumps(value)
    assert "".join(read(None, pieces(text, cuts))[1]) == "".join(read(None, [text])[1])


def test_members_are_released_as_soon_as_they_are_checked():
    _, released = read(compiled(SCHEMA), ['{"n": 1', '2, "text": "', "Hel", 'lo", "kind": "', 'a"', "}"])
    assert released == ["", '{"n": 12, "text": "', "Hel", 'lo"', ', "kind": "a"', "}"]


LISTS = {
    "type": "object",
    "properties": {
        "list": {"type": "array", "items": {"$ref": "#/$defs/E"}, "minItems": 2},
        "any": {"type": "array"},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}]},
    },
    "$defs": {"E": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}},
}


def test_arrays_are_released_element_by_element():
    parts = [
        '{"list": [',
        '{"a": 1',
        "}",
        ',\n{"a": 2},',
        "]",
        ', "any": [1',
        '2, "x',
        'y", [[',
        "]], ]",
        ', "pair": [1',
        "]}",
    ]
    reader, released = read(compiled(LISTS), parts)
    assert released == [
        *(
            "",
            "",
            '{"list": [{"a": 1}',
            ', {"a": 2}',
            "]",
            "",
            ', "any": [12',
            ', "xy"',
            ", [[]]]",
            "",
            ', "pair": [1]}',
        ),
    ]
    assert json.loads("".join(released)) == reader.value


@pytest.mark.parametrize(
    ("text", "released", "words"),
    [
        ('{"list": [{"a": "x"}]}', "", "an element of the member 'list'"),
        ('{"list": [{"a": 1}, {}]}', '{"list": [{"a": 1}', "an element of the member 'list'"),
        ('{"list": [{"a": 1}]}', '{"list": [{"a": 1}', "minItems"),
        ('{"any": []}', '{"any": []}', ""),
        ('{"any": [1 2]}', '{"any": [1', "a closing bracket"),
        ('{"any": [,]}', "", "not valid JSON"),
        ('{"other": [1, {"b": []}]}', '{"other": [1, {"b": []}]}', ""),
    ],
)
def test_a_mistake_in_an_array_is_named(text, released, words):
    reader, found = JsonReader(compiled(LISTS)), ""
    if not words:
        assert reader.feed(text) == released
        return
    with pytest.raises(InvalidJson, match=words):
        for character in text:
            found += reader.feed(character)
    assert found == released


@pytest.mark.parametrize(
    ("text", "released", "words"),
    [
        ('{"n": "x"}', "", "'n' does not fit"),
        ('{"n": 1, "kind": "c"}', '{"n": 1', "'kind' does not fit"),
        ('{"n": 1, "other": 2}', '{"n": 1', "'other' is not allowed"),
        ('{"text": "a"}', '{"text": "a"', "'n' is missing"),
        ('{"n": 1, "n": 2}', '{"n": 1', "twice"),
        ('{"n": 1 "text": ""}', '{"n": 1', "comma"),
        ("{'n': 1}", "", "double quotes"),
        ('{"n": nope}', "", "not valid JSON"),
        ('{"n": 1, "text": "\\x"}', '{"n": 1, "text": "', "escape"),
        ('{"n": 1, "text": "\\u12G4"}', '{"n": 1, "text": "', "escape"),
        ("[1]", "", "must be a JSON object"),
        ('{"n": 1', "", "not complete"),
        ('{"n": 1, "text": "a', '{"n": 1, "text": "a', "not complete"),
    ],
)
def test_a_mistake_is_named_and_nothing_wrong_is_released(text, released, words):
    reader, seen = JsonReader(compiled(SCHEMA)), []
    with pytest.raises(InvalidJson, match=words):
        for character in text:
            seen.append(reader.feed(character))
        reader.close()
    assert "".join(seen) == released


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"n": 1, "text": "two\nlines\tand a tab"}', {"n": 1, "text": "two\nlines\tand a tab"}),
        ('{"n": 1, }', {"n": 1}),
        (' \n{"n":\n1}', {"n": 1}),
        ("{}", {}),
    ],
)
def test_what_models_often_get_wrong_is_mended(text, value):
    reader, released = read(None, list(text))
    assert json.loads("".join(released)) == value == reader.value


@pytest.mark.parametrize(
    ("text", "value"), [("[1, [2], {}]", [1, [2], {}]), ('"a\\"b"', 'a"b'), ("12", 12), ("true", True)]
)
def test_other_values_are_released_whole(text, value):
    reader = JsonReader(None, of_object=False)
    released = [reader.feed(character) for character in text] + [reader.close()]
    assert [part for part in released if part] == [text]
    assert reader.value == value
