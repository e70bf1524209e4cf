import pytest

from protocol.model import (
    BadRequest,
    Blocked,
    Certainty,
    DriftDetected,
    ModelUnknown,
    RateLimited,
    Refused,
    Saturated,
    SignedOut,
    Throttled,
    Unsupported,
    UpstreamFailed,
)
from transports.verdict import Next, judge


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BadRequest("x"), Next.GIVE_UP),
        (ModelUnknown("x"), Next.GIVE_UP),
        (Refused("x"), Next.GIVE_UP),
        (Saturated("x"), Next.GIVE_UP),
        (Blocked("x"), Next.ANOTHER),
        (Unsupported("x"), Next.ANOTHER_TRANSPORT),
        (RateLimited("x"), Next.ANOTHER),
        (SignedOut("x"), Next.ANOTHER),
        (UpstreamFailed("x", certainty=Certainty.NOT_SENT), Next.ANOTHER),
        (UpstreamFailed("x", certainty=Certainty.REFUSED), Next.ANOTHER),
        (UpstreamFailed("x"), Next.ONCE),
        (DriftDetected("x"), Next.ONCE),
    ],
)
def test_whom_an_error_lets_be_asked(error, expected):
    assert judge(error, 0).next is expected


def test_a_limit_rests_as_long_as_told_and_longer_each_time_where_not_told():
    assert judge(RateLimited("x", retry_after=7), 3).rest == 7
    assert judge(RateLimited("x", retry_after=1e9), 0).rest == 24 * 3600
    rests = [judge(RateLimited("x"), failures).rest for failures in range(5)]
    assert rests == [3600, 7200, 14400, 21600, 21600]


def test_a_signed_out_account_is_parked_with_its_reason():
    verdict = judge(SignedOut("x", reason="consent", words="Accept the terms."), 0)
    assert (verdict.park, verdict.words) == ("consent", "Accept the terms.")
    assert judge(SignedOut("It needs a person."), 0).words == "It needs a person."


def test_a_blocked_address_rests_for_a_while():
    assert judge(Blocked("x"), 0).rest == 600


def test_an_account_that_is_asked_too_often_rests_a_while_and_no_hour():
    assert judge(Throttled("x", retry_after=7), 3).rest == 7
    assert [judge(Throttled("x"), failures).rest for failures in range(7)] == [60, 120, 240, 480, 960, 1800, 1800]
    assert judge(Throttled("x"), 1, luck=0.5).rest == 60
    assert judge(Throttled("x"), 0, luck=0.0).rest == 1
