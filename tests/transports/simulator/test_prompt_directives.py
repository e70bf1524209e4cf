import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.simulator.prompt_directives import take_apart


def test_a_document_is_verbatim_and_one_inside_an_echo_is_words():
    words = take_apart('a <document lang="md" title="T"><echo>x</echo> <sim error="1"/></document> b<echo>y</echo>')
    assert (words.document.lang, words.document.title) == ("md", "T")
    assert words.document.body == '<echo>x</echo> <sim error="1"/>'
    assert (words.echo, words.attributes) == ("y", {})
    inside = take_apart("<echo><document>x</document></echo><document>z</document>")
    assert inside.echo == "<document>x</document>"
    assert inside.document.body == "z"


def test_what_is_not_closed_is_no_document():
    assert take_apart("a <document> b").document is None
    assert take_apart("a <documents>b</document>").document is None


@pytest.mark.parametrize("tag", ["<document colour='x'>y</document>", '<document size="x">y</document>'])
def test_a_documents_attributes_are_looked_at(tag):
    with pytest.raises(ValueError, match=r"<document"):
        take_apart(tag)


@given(st.text(max_size=200).filter(lambda text: "<echo>" not in text and "</echo>" not in text))
def test_any_words_can_be_echoed(text):
    assert take_apart(f"before <echo>{text}</echo> after").echo == text


@pytest.mark.parametrize(
    "prompt",
    [
        "<sim " + "a" * 1_000_000 + "/>",
        '<sim a="' * 200_000,
        '<sim a="b" ' * 100_000,
        "<echo>" * 200_000,
        "<echo></echo>" * 200_000,
        "<document>" * 200_000,
        "<echo><document>" * 200_000,
        "<document></document>" * 100_000,
        "<sim " + " " * 1_000_000 + "/>",
        '<sim a="b"' + " " * 1_000_000 + "x/>",
    ],
)
def test_a_prompt_is_read_in_one_go(prompt):
    """What was quadratic took half a minute for a tenth of this: it would not end."""
    with contextlib.suppress(ValueError):
        take_apart(prompt)
