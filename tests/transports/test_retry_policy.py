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
from transports.generate_content.errors import ModelMissing
from transports.retry_policy import NextStep, decide


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BadRequest("x"), NextStep.FAIL),
        (ModelUnknown("x"), NextStep.FAIL),
        (Refused("x"), NextStep.FAIL),
        (Saturated("x"), NextStep.FAIL),
        (Blocked("x"), NextStep.OTHER_ACCOUNT),
        (Unsupported("x"), NextStep.OTHER_TRANSPORT),
        (ModelMissing("x"), NextStep.OTHER_ACCOUNT),
        (RateLimited("x"), NextStep.OTHER_ACCOUNT),
        (SignedOut("x"), NextStep.OTHER_ACCOUNT),
        (UpstreamFailed("x", certainty=Certainty.NOT_SENT), NextStep.OTHER_ACCOUNT),
        (UpstreamFailed("x", certainty=Certainty.REFUSED), NextStep.OTHER_ACCOUNT),
        (UpstreamFailed("x"), NextStep.RETRY_ONCE),
        (DriftDetected("x"), NextStep.RETRY_ONCE),
    ],
)
def test_each_error_determines_the_next_step(error, expected):
    assert decide(error, 0).next is expected


def test_a_rate_limit_cooldown_has_the_reported_time_or_doubles():
    assert decide(RateLimited("x", retry_after=7), 3).cooldown == 7
    assert decide(RateLimited("x", retry_after=1e9), 0).cooldown == 24 * 3600
    cooldowns = [decide(RateLimited("x"), failures).cooldown for failures in range(5)]
    assert cooldowns == [3600, 7200, 14400, 21600, 21600]


def test_a_signed_out_account_needs_attention_with_its_reason():
    decision = decide(SignedOut("x", reason="consent", advice="Accept the terms."), 0)
    assert (decision.attention, decision.message) == ("consent", "Accept the terms.")
    assert decide(SignedOut("It needs a person."), 0).message == "It needs a person."


def test_a_blocked_address_has_a_cooldown():
    assert decide(Blocked("x"), 0).cooldown == 600


def test_a_throttled_account_has_a_short_cooldown():
    assert decide(Throttled("x", retry_after=7), 3).cooldown == 7
    assert [decide(Throttled("x"), failures).cooldown for failures in range(7)] == [60, 120, 240, 480, 960, 1800, 1800]
    assert decide(Throttled("x"), 1, jitter=0.5).cooldown == 60
    assert decide(Throttled("x"), 0, jitter=0.0).cooldown == 1
