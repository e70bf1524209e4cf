from types import SimpleNamespace

import msgspec
import pytest

from protocol.http.option_fields import bounded_options, effort_of, thinking_tokens_of, with_sampling
from protocol.http.stop import Bounds
from protocol.model import EVERY_OPTION, NO_OPTIONS, SAMPLING, AnswerOptions, BadRequest, Catalogue

PLAIN = Catalogue.build().resolve("gemini-3-pro")
EXTENDED = Catalogue.build().resolve("gemini-3-pro-extended")


def sampled(applied=SAMPLING, **fields):
    return with_sampling(NO_OPTIONS, SimpleNamespace(**fields), applied, "config.{}".format)


def test_values_that_are_applied_are_read():
    given = {"temperature": 0, "top_p": 0.5, "top_k": 40.0, "seed": -7, "presence_penalty": -2, "frequency_penalty": 2}
    assert sampled(**given) == AnswerOptions(**given | {"top_k": 40})
    assert sampled(temperature=None, top_k=-1, seed="") == NO_OPTIONS


def test_values_that_no_upstream_applies_may_be_anything():
    assert sampled(frozenset({"seed"}), temperature="hot", seed=3) == AnswerOptions(seed=3)
    assert sampled(frozenset(), temperature="hot") is NO_OPTIONS


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("temperature", 2.5, "from 0 to 2"),
        ("temperature", "hot", "must be a number"),
        ("temperature", True, "must be a number"),
        ("top_p", -0.1, "from 0 to 1"),
        ("top_k", 1.5, "whole number"),
        ("seed", float("nan"), "whole number"),
        ("frequency_penalty", 3, "from -2 to 2"),
    ],
)
def test_a_wrong_value_of_an_applied_field_is_named(name, value, words):
    with pytest.raises(BadRequest, match=words) as caught:
        sampled(**{name: value})
    assert caught.value.param == f"config.{name}"


def test_bounds_are_options_too():
    assert bounded_options(Bounds()) is NO_OPTIONS
    assert bounded_options(Bounds(stops=("a",), tokens=3)) == AnswerOptions(stops=("a",), max_tokens=3)


@pytest.mark.parametrize(
    ("effort", "plain", "extended"),
    [("low", "low", "low"), ("max", "", "xhigh"), ("high", "", "high"), ("odd", "", ""), (None, "", "")],
)
def test_a_high_effort_needs_extended_thinking(effort, plain, extended):
    assert (effort_of(effort, PLAIN, EVERY_OPTION), effort_of(effort, EXTENDED, EVERY_OPTION)) == (plain, extended)
    assert effort_of(effort, EXTENDED, SAMPLING) == ""


@pytest.mark.parametrize(
    ("tokens", "plain", "extended"), [(0, 0, 0), (-1, -1, -1), (1024, 1024, 1024), (30_000, None, 30_000)]
)
def test_a_large_budget_needs_extended_thinking(tokens, plain, extended):
    assert thinking_tokens_of(tokens, PLAIN, EVERY_OPTION, "b") == plain
    assert thinking_tokens_of(tokens, EXTENDED, EVERY_OPTION, "b") == extended
    assert thinking_tokens_of("many", EXTENDED, SAMPLING, "b") is None
    with pytest.raises(BadRequest, match="'b' must be a whole number"):
        thinking_tokens_of("many", EXTENDED, EVERY_OPTION, "b")


def test_options_survive_storage():
    options = AnswerOptions(temperature=0.5, stops=("a",), safety=(("HARM_CATEGORY_HARASSMENT", "OFF"),), effort="low")
    assert msgspec.json.decode(msgspec.json.encode(options), type=AnswerOptions) == options
