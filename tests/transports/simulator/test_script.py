import pytest

from transports.simulator.script import PromptScript, parse


def test_the_last_echo_is_the_answer_verbatim():
    assert parse("<echo>one</echo> and <echo>two\n <b>`\\*</b></echo> end").text == "two\n <b>`\\*</b>"
    assert parse("<echo></echo>").text == ""


def test_what_is_echoed_is_not_obeyed():
    script = parse('<echo><sim error="1037"/></echo>')
    assert (script.text, script.error) == ('<sim error="1037"/>', None)


def test_attributes_of_several_tags_add_up():
    script = parse('<sim error="1037" after="3"/> words <sim delay="1.5"/><sim drop-after="2"/><echo>x</echo>')
    assert script == PromptScript(text="x", asked="words", error=1037, after=3, delay=1.5, drop_after=2)


def test_an_answer_says_that_it_is_simulated():
    assert "simulated" in parse("What is the weather?").text
    assert "What is the weather?" in parse("What is the weather?").text


def test_a_length_is_kept_to_the_character():
    assert [len(parse(f'<sim length="{length}"/>').text) for length in (0, 1, 10, 100_000)] == [0, 1, 10, 100_000]
    assert parse('<sim text="these"/><echo>not these</echo>').text == "these"


@pytest.mark.parametrize("tag", ['colour="red"', 'error="x"', 'length="-1"', 'length="99999999999"', 'after="1.5"'])
def test_what_it_does_not_understand_is_an_error(tag):
    with pytest.raises(ValueError, match="sim"):
        parse(f"<sim {tag}/>")
