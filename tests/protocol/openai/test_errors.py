import json

import pytest

from protocol.http.errors import HttpError
from protocol.model import (
    BadRequest,
    Blocked,
    DriftDetected,
    Forbidden,
    GatewayError,
    ModelUnknown,
    RateLimited,
    Refused,
    Saturated,
    SignedOut,
    Throttled,
    Unauthorized,
    Unsupported,
    UpstreamFailed,
    UpstreamTimeout,
)
from protocol.openai import error_response

ROWS = [
    (BadRequest("m", param="a.b"), 400, "invalid_request_error", "invalid_value", "false", None),
    (Unsupported("m"), 400, "invalid_request_error", "unsupported_value", "false", None),
    (Refused("m"), 400, "invalid_request_error", "content_filter", "false", None),
    (Unauthorized("m"), 401, "invalid_request_error", "invalid_api_key", None, None),
    (Forbidden("m"), 403, "permission_error", "model_not_allowed", "false", None),
    (ModelUnknown("m"), 404, "invalid_request_error", "model_not_found", None, None),
    (HttpError(408, "request_timeout", "m"), 408, "invalid_request_error", "request_timeout", "false", None),
    (HttpError(413, "request_too_large", "m"), 413, "invalid_request_error", "request_too_large", "false", None),
    (RateLimited("m", retry_after=6.2), 429, "rate_limit_error", "upstream_quota_exhausted", None, "7"),
    (Throttled("m", retry_after=6.2), 429, "rate_limit_error", "rate_limit_exceeded", None, "7"),
    (RateLimited("m", retry_after=500), 429, "rate_limit_error", "upstream_quota_exhausted", "false", "500"),
    (GatewayError("m"), 500, "server_error", "internal_error", None, None),
    (UpstreamFailed("m"), 502, "server_error", "upstream_protocol_error", None, None),
    (DriftDetected("m"), 502, "server_error", "upstream_protocol_error", None, None),
    (
        UpstreamFailed("m", code="upstream_outcome_unknown"),
        502,
        "server_error",
        "upstream_outcome_unknown",
        "false",
        None,
    ),
    (SignedOut("m"), 503, "server_error", "no_account_available", "false", "60"),
    (Blocked("m"), 503, "server_error", "no_account_available", "false", "60"),
    (Blocked("m", retry_after=480.2), 503, "server_error", "no_account_available", "false", "481"),
    (Saturated("m", retry_after=1.5), 503, "server_error", "overloaded", None, "2"),
    (UpstreamTimeout("m"), 504, "server_error", "upstream_timeout", None, None),
]


@pytest.mark.parametrize(("error", "status", "kind", "code", "retry", "after"), ROWS, ids=str)
def test_each_error_has_its_status_code_and_advice(error, status, kind, code, retry, after):
    response = error_response(error)
    body = json.loads(response.body)["error"]
    assert response.status_code == status
    assert (body["message"], body["type"], body["code"]) == ("m", kind, code)
    assert response.headers.get("x-should-retry") == retry
    assert response.headers.get("retry-after") == after


def test_the_field_at_fault_is_named():
    assert json.loads(error_response(BadRequest("m", param="a[0].b")).body)["error"]["param"] == "a[0].b"
    assert json.loads(error_response(ModelUnknown("m")).body)["error"]["param"] == "model"
    assert json.loads(error_response(SignedOut("m")).body)["error"]["param"] is None
