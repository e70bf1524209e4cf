import pytest

from transports.web.codec import jspb


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
def test_a_field_is_read_from_an_array_or_a_map(array, index, expected):
    assert jspb.field(array, index) == expected


def test_a_path_through_a_missing_field_gives_nothing():
    assert jspb.path([[["deep"]]], 0, 0, 0) == "deep"
    assert jspb.path([[["deep"]]], 0, 3, 0) is None
    assert jspb.text([[5]], 0, 0) is None
    assert jspb.integer([[True]], 0, 0) is None
    assert jspb.array([["x"]], 0) == ["x"]
    assert jspb.array(["x"], 0) == []


def test_a_count_may_be_written_as_text():
    assert [jspb.count([value], 0) for value in (0, 7, "7", "007")] == [0, 7, 7, 7]
    for value in (-1, True, 1.0, "", "-1", "1.5", "٣", "x", None, [], 10**18, "1" * 30):
        assert jspb.count([value], 0) is None


def test_a_time_is_limited_to_valid_dates():
    assert [jspb.seconds([value], 0) for value in (1, "1788200602", 253_402_300_799)] == [1, 1788200602, 253402300799]
    for value in (0, 253_402_300_800, "1788200602000", -5, None):
        assert jspb.seconds([value], 0) is None


def test_a_number_may_have_a_fraction():
    assert [jspb.number([value], 0) for value in (0, 0.25, True, "1", None)] == [0.0, 0.25, None, None, None]


@pytest.mark.parametrize(
    ("value", "sent", "encoded"),
    [
        ("c_1", "c_1", "c_1"),
        ("\u00e9", "", "\u00e9"),
        ("\U0001f600", "", "\U0001f600"),
        ("\ud83d", "", ""),
        (5, "", ""),
        (None, "", ""),
    ],
)
def test_ids_are_ascii_and_other_texts_can_be_encoded(value, sent, encoded):
    assert jspb.identifier([value], 0) == sent
    assert jspb.encodable([value], 0) == encoded
