from types import SimpleNamespace

import pytest

from protocol.http.context import ApiSettings
from protocol.http.ignored import IgnoredFields, Notices, warning
from protocol.model import AnswerOptions, BadRequest, Served

FIELDS = IgnoredFields({"seed": (), "top_p": (1,), "logprobs": ()})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((None, None, None), []),
        (("", 1.0, False), []),
        (({}, [], ""), []),
        ((0, 0, True), ["seed", "top_p", "logprobs"]),
        ((5, 0.5, None), ["seed", "top_p"]),
    ],
)
def test_fields_that_ask_for_something_are_found(values, expected):
    seed, top_p, logprobs = values
    assert FIELDS.sent(SimpleNamespace(seed=seed, top_p=top_p, logprobs=logprobs)) == expected


def test_fields_are_named_once_in_one_sentence():
    served = Served(transport="t", account="a")
    assert Notices(lambda _: [], ApiSettings(strict=True)).sentences(served) == ()
    (sentence,) = Notices(lambda _: ["a", "b", "a"], ApiSettings()).sentences(served)
    assert warning(sentence) == (b"warning", b'299 - "These fields have no effect here: a, b."')


def test_the_settings_can_refuse_them():
    with pytest.raises(BadRequest, match="'a' has no effect") as caught:
        Notices(lambda _: ["a", "b"], ApiSettings(strict=True))
    assert (caught.value.param, caught.value.code) == ("a", "unsupported_parameter")


@pytest.mark.parametrize(
    ("applied", "expected"),
    [({"seed", "top_p"}, []), ({"seed"}, ["top_p"]), ((), ["seed", "top_p"])],
)
def test_what_the_upstream_that_answers_has_not_applied_is_named(applied, expected):
    body = SimpleNamespace(seed=5, top_p=0.5, logprobs=None)
    found = Notices(lambda names: FIELDS.sent(body, names), ApiSettings(strict=True), frozenset({"seed", "top_p"}))
    served = Served(transport="t", account="a", applied=frozenset(applied))
    sentences = found.sentences(served, AnswerOptions(seed=5, top_p=0.5))
    assert [*sentences] == [f"These fields have no effect here: {', '.join(names)}." for names in [expected] if names]
    assert found.sentences(Served(transport="", account=""), AnswerOptions(seed=5)) == ()  # not known
