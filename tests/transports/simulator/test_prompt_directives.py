import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.simulator.prompt_directives import (
    IMAGE,
    MUSIC,
    VIDEO,
    PromptScript,
    parse,
    split_prompt,
    tool_for,
    wants_web_images,
)


def test_a_document_is_verbatim_and_has_no_effect_inside_an_echo():
    words = split_prompt('a <document lang="md" title="T"><echo>x</echo> <sim error="1"/></document> b<echo>y</echo>')
    assert (words.document.lang, words.document.title) == ("md", "T")
    assert words.document.body == '<echo>x</echo> <sim error="1"/>'
    assert (words.echo, words.attributes) == ("y", {})
    inside = split_prompt("<echo><document>x</document></echo><document>z</document>")
    assert inside.echo == "<document>x</document>"
    assert inside.document.body == "z"


def test_an_unclosed_document_is_text():
    assert split_prompt("a <document> b").document is None
    assert split_prompt("a <documents>b</document>").document is None


@pytest.mark.parametrize("tag", ["<document colour='x'>y</document>", '<document size="x">y</document>'])
def test_the_attributes_of_a_document_are_checked(tag):
    with pytest.raises(ValueError, match=r"<document"):
        split_prompt(tag)


@given(st.text(max_size=200).filter(lambda text: "<echo>" not in text and "</echo>" not in text))
def test_any_text_can_be_echoed(text):
    assert split_prompt(f"before <echo>{text}</echo> after").echo == text


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
def test_a_long_prompt_is_read_quickly(prompt):
    """What was quadratic took half a minute for a tenth of this: it would not end."""
    with contextlib.suppress(ValueError):
        split_prompt(prompt)


def test_the_last_echo_is_the_answer_verbatim():
    assert parse("<echo>one</echo> and <echo>two\n <b>`\\*</b></echo> end").text == "two\n <b>`\\*</b>"
    assert parse("<echo></echo>").text == ""


def test_tags_inside_an_echo_have_no_effect():
    script = parse('<echo><sim error="1037"/></echo>')
    assert (script.text, script.error) == ('<sim error="1037"/>', None)


def test_attributes_of_several_tags_are_combined():
    script = parse('<sim error="1037" after="3"/> words <sim delay="1.5"/><sim drop-after="2"/><echo>x</echo>')
    assert script == PromptScript(text="x", description="words", error=1037, after=3, delay=1.5, drop_after=2)


def test_an_answer_names_itself_simulated():
    assert "simulated" in parse("What is the weather?").text
    assert "What is the weather?" in parse("What is the weather?").text


def test_a_length_is_exact():
    assert [len(parse(f'<sim length="{length}"/>').text) for length in (0, 1, 10, 100_000)] == [0, 1, 10, 100_000]
    assert parse('<sim text="these"/><echo>not these</echo>').text == "these"


@pytest.mark.parametrize("tag", ['colour="red"', 'error="x"', 'length="-1"', 'length="99999999999"', 'after="1.5"'])
def test_an_unknown_directive_is_an_error(tag):
    with pytest.raises(ValueError, match="sim"):
        parse(f"<sim {tag}/>")


@pytest.mark.parametrize(
    ("words", "tool"),
    [
        ("Generate some pictures of cats", IMAGE),
        ("Please draw a small PHOTO of the sea", IMAGE),
        ("Use image generation tool to modify the banner with another font and design.", IMAGE),
        ("Edit this photo: make the sky red", IMAGE),
        ("画一幅雪中的狐狸的图", IMAGE),
        ("Generate a short video of a cat playing", VIDEO),
        ("make a film from this picture", VIDEO),
        ("生成一段猫的视频", VIDEO),
        ("Compose a song about the sea", MUSIC),
        ("Send me some pictures of cats", None),
        ("What is in this picture?", None),
        ("Hello World!", None),
        ("Generate a list. Then describe the picture.", None),
        ("regenerate the imagery", None),
    ],
)
def test_plain_prompts_choose_a_tool(words, tool):
    assert tool_for(words) == tool


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("Send me some pictures of cats", True),
        ("show me a photo of the Rhine", True),
        ("Show me how to read this", False),
        ("What is in this picture?", False),
        ("Find the fault in this picture", False),
    ],
)
def test_plain_prompts_choose_web_pictures(words, wanted):
    assert wants_web_images(words) == wanted
