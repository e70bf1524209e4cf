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
        (Blocked("x"), Next.GIVE_UP),
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
    assert judge(SignedOut("x", reason="consent"), 0).park == "consent"


def test_a_blocked_address_rests_all_accounts():
    verdict = judge(Blocked("x"), 0)
    assert verdict.egress
    assert verdict.rest == 600
