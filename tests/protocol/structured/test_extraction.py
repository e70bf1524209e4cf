import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.structured.extraction import Extractor
from protocol.structured.json_reader import InvalidJson
from protocol.structured.json_schema import compiled

SCHEMA = compiled(
    {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "t": {"type": "string"}},
        "required": ["n"],
        "additionalProperties": False,
    }
)
HARD = {"t": 'a ```json\n{"n": 1}\n``` } { " \\ \u2028', "n": 3}


def extract(schema, parts):
    extractor = Extractor(schema)
    return "".join([*(extractor.feed(part) for part in parts), extractor.close()])


@pytest.mark.parametrize(
    "frame",
    [
        "{}",
        "```json\n{}\n```",
        "Sure! Here is the JSON:\n\n```json\n{}\n```\n\nAnything else?",
        'Hello {{name}}, with {{}} and {{\'a\': 1}} and {{"x": 1}}: {} Bye {{"n": 9}}',
        "{{{{{{ {}",
        '"{{": {}',
        "[1, {}]",
    ],
)
@given(cuts=st.lists(st.integers(0, 400), max_size=10))
@settings(max_examples=25)
def test_the_value_is_found_in_prose_and_fences(frame, cuts):
    text = frame.replace("{}", json.dumps(HARD), 1) if "{{" not in frame else frame.format(json.dumps(HARD))
    ends = [0, *sorted({cut % len(text) for cut in cuts}), len(text)]
    released = extract(SCHEMA, [text[start:end] for start, end in itertools.pairwise(ends)])
    assert json.loads(released) == HARD


def test_nothing_comes_before_the_first_brace_and_the_rest_streams():
    extractor = Extractor(SCHEMA)
    released = [extractor.feed(part) for part in ("Here: ", '{"t": "a', "b", 'c", "n": 1}', "\n```")]
    assert released == ["", '{"t": "a', "b", 'c", "n": 1}', ""]
    assert extractor.done


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (None, 'see {"a": [1]} there', {"a": [1]}),
        (compiled({"type": "array", "items": {"type": "integer"}}), "see [this](x): [1, 2]", [1, 2]),
        (compiled({"anyOf": [{"type": "array"}, {"type": "object"}]}), "x [1]", [1]),
        (compiled({"type": "string"}), '```json\n"words"\n```', "words"),
        (compiled({"type": "string"}), 'Here it is:\n\n```json\n"words"\n```\n\nAll.', "words"),
        (compiled({"type": "string"}), '"a ``` b\\n``` c"', "a ``` b\n``` c"),
        (compiled({"type": "string", "enum": ["a b"]}), "a b\n", "a b"),
        (compiled({"type": "string", "enum": ["a b"]}), "it is a b", None),
        (compiled({"type": "integer"}), " 12 ", 12),
        (compiled({"enum": [True]}), "{} true", None),
        (compiled({"enum": ["a", {}]}), 'It is:\n```json\n"a"\n```', "a"),
        (compiled({"enum": ["a", {}]}), '"a"', "a"),
        (compiled({"const": 5}), "5", 5),
        (compiled({"type": ["object", "null"]}), 'null? No: {"a": null}', {"a": None}),
        (compiled({"type": "string"}), '"words" and more', None),
        (compiled({"type": "string"}), '```json\n"words, "broken\n```', None),
        (compiled({"type": "integer"}), "5 apples", None),
    ],
)
def test_other_kinds_of_values(schema, text, value):
    if value is None:
        with pytest.raises(InvalidJson):
            extract(schema, [text])
    else:
        assert json.loads(extract(schema, [text])) == value


def test_an_object_or_null_may_be_null():
    assert extract(compiled({"type": ["object", "null"]}), ["```\nnu", "ll\n```"]) == "null"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("There is none.", "has no JSON"),
        ('{"n": "x"}', "'n' does not fit"),
        ('{"n": 1, "t": 5}', "'t' does not fit"),
        ('{"n": 1', "not complete"),
        ('{"t": "a"}', "'n' is missing"),
    ],
)
def test_an_answer_without_a_fitting_value_is_refused_with_the_first_problem(text, words):
    with pytest.raises(InvalidJson, match=words):
        extract(SCHEMA, [text])


def test_an_answer_of_opening_braces_is_tried_a_bounded_number_of_times():
    extractor = Extractor(SCHEMA)
    for _ in range(100):
        extractor.feed('{"a' * 1000)
    with pytest.raises(InvalidJson):
        extractor.close()
    assert extractor.tries == 200
