import json

from hypothesis import given
from hypothesis import strategies as st

from transports.simulator import encode
from transports.web.codec import jspb


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_a_frames_length_counts_utf16_units_with_both_newlines(text):
    digits, _, rest = encode.frame(["x", text]).decode().partition("\n")
    assert int(digits) == len(("\n" + rest).encode("utf-16-le")) // 2
    assert json.loads(rest) == [["x", text]]


@given(st.dictionaries(st.integers(0, 90), st.integers(), min_size=1), st.booleans())
def test_both_layouts_have_the_same_content(fields, sparse):
    array = encode.layout(fields, sparse=sparse)
    assert {index: jspb.field(array, index) for index in fields} == fields
    assert len(array) <= 92


def test_the_sparse_form_holds_a_field_in_one_place_only():
    assert encode.layout({0: "a", 37: "b"}, sparse=True) == ["a", {"38": "b"}]
