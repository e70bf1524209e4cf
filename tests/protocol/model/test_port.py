import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.model import Served, UpstreamModel


def served(asked, answered):
    return Served(transport="t", account="a", requested=asked, answered=answered)


@given(st.text(), st.text())
@example("3.7 Flash\r\nset-cookie: x=y", "")
@example("", "\u8acb")
def test_a_label_is_valid_in_a_header_for_any_upstream_name(name, identifier):
    label = UpstreamModel(id=identifier, name=name).label
    assert all(" " <= character <= "~" for character in label)
    assert label == label.strip()
    assert len(label) <= 64


def test_a_label_is_the_name_or_else_the_id():
    assert UpstreamModel(id="f1", name=" 3.7  Flash ").label == "3.7 Flash"
    assert UpstreamModel(id="f1", name="\u95ea").label == "f1"
    assert UpstreamModel().label == ""


@pytest.mark.parametrize(
    ("asked", "answered", "mismatch"),
    [
        (UpstreamModel(id="p", family="pro"), UpstreamModel(id="f", family="flash"), ("pro", "flash")),
        (UpstreamModel(family="pro"), UpstreamModel(family="flash-lite"), ("pro", "flash-lite")),
        (UpstreamModel(id="p", family="pro"), UpstreamModel(id="q", family="pro"), None),
        (UpstreamModel(id="p", family="pro"), UpstreamModel(id="p", family="flash"), None),
        (UpstreamModel(id="p", family="pro"), UpstreamModel(id="n", name="Nano Banana 2"), None),
        (UpstreamModel(id="auto"), UpstreamModel(id="f", family="flash"), None),
        (UpstreamModel(id="p", family="pro"), None, None),
    ],
)
def test_a_mismatch_requires_two_known_families(asked, answered, mismatch):
    assert served(asked, answered).mismatch == mismatch
