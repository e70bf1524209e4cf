import json

import pytest

from transports.simulator.request_checks import (
    AccessTokenMissing,
    BatchCall,
    Departure,
    at,
    batch,
    form,
    read,
    same,
    slots_of,
)
from transports.web import wire


def slots(**changes):
    found = [None] * 81
    found[0], found[2], found[68] = ["hello", 0, None, None], [""] * 3, 1
    for index, value in changes.items():
        found[int(index.removeprefix("slot"))] = value
    return found


@pytest.mark.parametrize(
    ("value", "wanted", "equal"), [(1, 1, True), (True, 1, False), (1.0, 1, False), ([{"a": 1}], [{"a": 1}], True)]
)
def test_values_are_the_same_only_if_they_are_written_the_same(value, wanted, equal):
    assert same(value, wanted) is equal


def test_an_element_that_does_not_exist_is_none():
    assert at([[1, [2]]], 0, 1, 0) == 2
    assert at([[1]], 0, 5) is None
    assert at("text", 0) is None


def test_a_form_needs_its_request_and_the_access_token_of_the_session():
    assert form(b"f.req=%5B1%5D&at=AK&", "AK") == ([("f.req", "[1]"), ("at", "AK")], [1])
    assert form(b"f.req=%5B1%5D", None)[1] == [1]
    with pytest.raises(AccessTokenMissing):
        form(b"f.req=%5B1%5D&at=old", "AK")
    for body, reason in ((b"\xff", "form"), (b"x=1", "form fields"), (b"f.req=%5BNaN%5D", "form f.req")):
        with pytest.raises(Departure, match=reason):
            form(body, None)


def test_calls_of_a_batch_are_read_in_both_forms_and_quoted_payloads_too():
    calls = batch([[["otAQ7b", "[]", None, "generic"], ["CNgdBe", "['x']"]], 1])
    assert [(call.rpc, call.name, call.payload) for call in calls] == [
        ("otAQ7b", "generic", []),
        ("CNgdBe", "generic", ["x"]),
    ]
    for request in ([], [[]], [["otAQ7b"]], "text"):
        with pytest.raises(Departure):
            batch(request)
    assert BatchCall(rpc="x", text="[1]", name=None).payload == [1]


def test_a_turn_is_read_with_its_files_and_its_conversation():
    files = [[["/path", 1], "a.png"], [None, None, "/folder/b.txt"], "unknown"]
    turn = read(slots(slot0=["hello", 0, None, files], slot2=["c", "r", "rc", *[None] * 6, "ctx"], slot49=14), {})
    assert (turn.prompt, turn.tool, turn.place) == ("hello", 14, ["c", "r", "rc", "ctx"])
    assert turn.files == [("/path", "a.png"), ("/folder/b.txt", "b.txt"), ("", "")]
    assert read(slots(slot49=99), {}).tool is None


def test_the_model_header_is_read_with_and_without_field_13():
    model = [1, None, None, None, "id", None, None, 0, [4], None, None, 2, None, None, 3, 2]
    for header in (model, [*model[:11], None, *model[11:]]):
        turn = read(slots(), {wire.MODEL_HEADER: json.dumps(header)})
        assert (turn.model_id, turn.capacity, turn.number, turn.extended) == ("id", 2, 3, True)
    assert read(slots(), {}).model_id is None
    assert read(slots(), {wire.MODEL_HEADER: "no list"}).model_id == ""


@pytest.mark.parametrize("request_", [[], [None, "not JSON"], [None, "[]"], [None, json.dumps([None] * 68)]])
def test_a_request_without_enough_slots_is_refused(request_):
    with pytest.raises(Departure):
        slots_of(request_)
