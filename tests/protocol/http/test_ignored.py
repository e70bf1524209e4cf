from types import SimpleNamespace

import pytest

from protocol.http.context import ApiSettings
from protocol.http.ignored import IgnoredFields, notices, warning
from protocol.model import BadRequest

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
    assert notices([], ApiSettings(strict=True)) == ()
    (sentence,) = notices(["a", "b", "a"], ApiSettings())
    assert warning(sentence) == (b"warning", b'299 - "These fields have no effect here: a, b."')


def test_the_settings_can_refuse_them():
    with pytest.raises(BadRequest, match="'a' has no effect") as caught:
        notices(["a", "b"], ApiSettings(strict=True))
    assert (caught.value.param, caught.value.code) == ("a", "unsupported_parameter")
