import pytest

from protocol.http.errors import HttpError, headers_of, license_revoked, shutting_down, status_of
from protocol.model import (
    BadRequest,
    Blocked,
    GatewayError,
    ModelDowngraded,
    ModelUnknown,
    RateLimited,
    Saturated,
    SignedOut,
    Throttled,
    Unauthorized,
    Unsupported,
    UpstreamFailed,
    UpstreamTimeout,
)

NEVER = {"x-should-retry": "false"}


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (Unsupported("m"), 400, NEVER),
        (BadRequest("m"), 400, NEVER),
        (HttpError(418, "tea", "m", {"x-tea": "1"}), 418, {**NEVER, "x-tea": "1"}),
        (license_revoked(), 401, {"WWW-Authenticate": "Bearer"}),
        (Unauthorized("m"), 401, {"WWW-Authenticate": "Bearer"}),
        (ModelUnknown("m"), 404, {}),
        (RateLimited("m"), 429, {"Retry-After": "60"}),
        (RateLimited("m", retry_after=119.2), 429, {"Retry-After": "120"}),
        (Throttled("m", retry_after=120.2), 429, {"Retry-After": "121", **NEVER}),
        (GatewayError("m"), 500, {}),
        (UpstreamFailed("m"), 502, {}),
        (UpstreamFailed("m", code="upstream_outcome_unknown"), 502, NEVER),
        (ModelDowngraded("m", requested="a", answered="b"), 502, NEVER),
        (SignedOut("m"), 503, {"Retry-After": "60", **NEVER}),
        (Blocked("m", retry_after=5), 503, {"Retry-After": "5", **NEVER}),
        (Saturated("m", retry_after=1.5), 503, {"Retry-After": "2"}),
        (shutting_down(), 503, {"Retry-After": "1"}),
        (UpstreamTimeout("m"), 504, {}),
    ],
    ids=str,
)
def test_each_error_has_a_status_and_says_whether_to_retry(error, status, headers):
    assert (status_of(error), headers_of(error)) == (status, headers)
