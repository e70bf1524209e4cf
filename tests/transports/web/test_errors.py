from copy import copy

import pytest

from protocol.model import Certainty, SignedOut, Throttled
from transports.web.errors import (
    RequestRejected,
    SessionRefused,
    StaleBuild,
    StaleToken,
    error_for_http,
)


@pytest.mark.parametrize(
    ("status", "location", "kind", "reason"),
    [
        (401, "", SessionRefused, "signed_out"),
        (403, "", SessionRefused, "signed_out"),
        (302, "https://accounts.google.com/ServiceLogin", SessionRefused, "signed_out"),
        (
            302,
            "https://accounts.google.com/ServiceLogin?continue=https://a/sorry/consent",
            SessionRefused,
            "signed_out",
        ),
        (302, "https://consent.google.com/m", SignedOut, "consent"),
        (302, "https://www.google.com/sorry/index", SignedOut, "challenge"),
    ],
)
def test_a_refused_session_differs_from_an_account_that_needs_attention(status, location, kind, reason):
    error = error_for_http(status, location=location)
    assert type(error) is kind
    assert error.reason == reason


def test_throttling_differs_from_the_usage_limit():
    throttled = error_for_http(429, retry_after=7.0)
    assert type(throttled) is Throttled
    assert (throttled.code, throttled.retry_after) == ("rate_limit_exceeded", 7.0)


def test_each_status_maps_to_its_error():
    assert error_for_http(404).certainty is Certainty.REFUSED
    assert error_for_http(503).certainty is Certainty.MAYBE_ACCEPTED


@pytest.mark.parametrize(
    ("status", "token", "kind"), [(400, "AK:1", StaleToken), (400, None, RequestRejected), (405, None, StaleBuild)]
)
def test_a_missing_token_differs_from_a_wrong_request(status, token, kind):
    error = error_for_http(status, token=token)
    assert type(error) is kind
    assert error.certainty is Certainty.REFUSED


def test_a_token_is_shown_neither_in_the_error_nor_in_its_repr():
    error = error_for_http(400, token="AK-secret")
    assert error.token == "AK-secret"
    assert "secret" not in f"{error} {error!r}"
    assert copy(error).token == "AK-secret"
