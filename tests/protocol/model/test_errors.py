"""The tree of errors says whose fault it is, and what may be asked again."""

import pytest

from protocol.model import (
    BadRequest,
    Certainty,
    RateLimited,
    Saturated,
    SignedOut,
    UpstreamFailed,
    UpstreamTimeout,
    released,
)


@pytest.mark.parametrize(
    ("error", "certainty"),
    [
        (BadRequest("x"), Certainty.REFUSED),
        (RateLimited("x"), Certainty.REFUSED),
        (SignedOut("x"), Certainty.REFUSED),
        (UpstreamFailed("x"), Certainty.MAYBE_ACCEPTED),
        (UpstreamTimeout("x"), Certainty.MAYBE_ACCEPTED),
        (Saturated("x"), Certainty.NOT_SENT),
    ],
)
def test_each_error_has_a_certainty_that_can_be_overridden(error, certainty):
    assert error.certainty is certainty
    assert UpstreamFailed("x", certainty=Certainty.NOT_SENT).certainty is Certainty.NOT_SENT


def test_a_given_code_replaces_the_default_code():
    assert UpstreamFailed("x").code == "upstream_protocol_error"
    assert UpstreamFailed("x", code="upstream_reset").code == "upstream_reset"


def test_a_released_error_and_its_causes_hold_no_frames():
    def failing():
        try:
            int("first")
        except ValueError as error:
            raise BadRequest("second") from error

    with pytest.raises(BadRequest) as caught:
        failing()
    group = ExceptionGroup("several", [caught.value])
    error = released(group)
    assert error is group
    assert caught.value.__traceback__ is None
    assert caught.value.__cause__.__traceback__ is None
