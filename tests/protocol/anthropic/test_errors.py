import json

import pytest

from protocol.anthropic.errors import NO_THREADS, AnthropicErrorResponse
from protocol.http.errors import HttpError
from protocol.model import (
    BadRequest,
    Blocked,
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


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (BadRequest("m", param="a.b"), 400, "invalid_request_error"),
        (Unsupported("m"), 400, "invalid_request_error"),
        (Refused("m"), 400, "invalid_request_error"),
        (Unauthorized("m"), 401, "authentication_error"),
        (Forbidden("m"), 403, "permission_error"),
        (ModelUnknown("m"), 404, "not_found_error"),
        (HttpError(404, "not_found", "m"), 404, "not_found_error"),
        (HttpError(405, "method_not_allowed", "m"), 405, "invalid_request_error"),
        (HttpError(408, "request_timeout", "m"), 408, "timeout_error"),
        (HttpError(413, "request_too_large", "m"), 413, "request_too_large"),
        (HttpError(431, "headers_too_large", "m"), 431, "invalid_request_error"),
        (HttpError(501, "method_not_implemented", "m"), 501, "api_error"),
        (RateLimited("m"), 429, "rate_limit_error"),
        (Throttled("m"), 429, "rate_limit_error"),
        (GatewayError("m"), 500, "api_error"),
        (UpstreamFailed("m"), 502, "api_error"),
        (SignedOut("m"), 503, "overloaded_error"),
        (Blocked("m"), 503, "overloaded_error"),
        (Saturated("m"), 503, "overloaded_error"),
        (UpstreamTimeout("m"), 504, "timeout_error"),
    ],
    ids=str,
)
def test_each_error_has_its_status_and_type(error, status, kind):
    response = AnthropicErrorResponse(error)
    assert response.status_code == status
    assert json.loads(response.body) == {"type": "error", "error": {"type": kind, "message": "m"}}


def test_a_limit_says_when_to_retry():
    assert AnthropicErrorResponse(Throttled("m", retry_after=6.2)).headers["retry-after"] == "7"
    assert AnthropicErrorResponse(BadRequest("m")).headers["x-should-retry"] == "false"


def test_a_conversation_that_is_too_long_is_named_as_agents_expect_it():
    error = BadRequest("Shorten it.", code="context_length_exceeded")
    assert json.loads(AnthropicErrorResponse(error).body)["error"]["message"] == "prompt is too long: Shorten it."


def test_the_refusal_of_a_thread_has_the_code_that_the_sdk_handles():
    body = json.loads(AnthropicErrorResponse(BadRequest("m", code=NO_THREADS)).body)
    assert body["error"]["details"] == {"error_code": "thread_unsupported_request"}
