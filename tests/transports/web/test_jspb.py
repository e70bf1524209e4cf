import pytest

from transports.web import jspb


@pytest.mark.parametrize(
    ("array", "index", "expected"),
    [
        (["a", None, "c"], 2, "c"),
        (["a", {"87": "far"}], 86, "far"),
        (["a", {"87": "far"}], 1, None),
        ([None] * 86 + ["near"], 86, "near"),
        ([{"1": "zero"}], 0, "zero"),
        ([], 0, None),
        ("text", 0, None),
        (None, 0, None),
        (["a"], 5, None),
    ],
)
def test_a_field_is_read_in_either_form(array, index, expected):
    assert jspb.field(array, index) == expected


def test_paths_end_where_something_is_missing():
    assert jspb.path([[["deep"]]], 0, 0, 0) == "deep"
    assert jspb.path([[["deep"]]], 0, 3, 0) is None
    assert jspb.text([[5]], 0, 0) is None
    assert jspb.integer([[True]], 0, 0) is None
    assert jspb.array([["x"]], 0) == ["x"]
    assert jspb.array(["x"], 0) == []
