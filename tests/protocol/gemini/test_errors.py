import json

import pytest

from protocol.gemini.errors import rpc_error_response
from protocol.http.errors import HttpError
from protocol.model import (
    BadRequest,
    Blocked,
    Forbidden,
    GatewayError,
    ModelUnknown,
    RateLimited,
    Saturated,
    SignedOut,
    Unauthorized,
    UpstreamFailed,
    UpstreamTimeout,
)


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (BadRequest("x"), 400, "INVALID_ARGUMENT"),
        (Unauthorized("x"), 401, "UNAUTHENTICATED"),
        (Forbidden("x"), 403, "PERMISSION_DENIED"),
        (ModelUnknown("x"), 404, "NOT_FOUND"),
        (HttpError(405, "method_not_allowed", "x"), 405, "INVALID_ARGUMENT"),
        (HttpError(413, "request_too_large", "x"), 413, "INVALID_ARGUMENT"),
        (RateLimited("x"), 429, "RESOURCE_EXHAUSTED"),
        (GatewayError("x"), 500, "INTERNAL"),
        (UpstreamFailed("x"), 500, "INTERNAL"),
        (SignedOut("x"), 503, "UNAVAILABLE"),
        (Blocked("x"), 503, "UNAVAILABLE"),
        (Saturated("x"), 503, "UNAVAILABLE"),
        (UpstreamTimeout("x"), 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_statuses(error, status, name):
    response = rpc_error_response(error)
    body = json.loads(response.body)["error"]
    assert (response.status_code, body["code"], body["status"], body["message"]) == (status, status, name, "x")
    reason = "API_KEY_INVALID" if status == 401 else error.code.upper()
    assert body["details"][0]["reason"] == reason


def details(error):
    found = json.loads(rpc_error_response(error).body)["error"]["details"]
    return {one.pop("@type").removeprefix("type.googleapis.com/google.rpc."): one for one in found}


def test_details():
    assert details(RateLimited("x", retry_after=25.2))["RetryInfo"] == {"retryDelay": "26s"}
    assert rpc_error_response(RateLimited("x", retry_after=25.2)).headers["retry-after"] == "26"
    assert details(BadRequest("why", param="contents[0]"))["BadRequest"] == {
        "fieldViolations": [{"field": "contents[0]", "description": "why"}]
    }
    assert details(ModelUnknown("x")) == {"ErrorInfo": {"reason": "MODEL_NOT_FOUND", "domain": "gemini-gateway"}}
