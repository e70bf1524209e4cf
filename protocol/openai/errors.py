"""Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`. Source: reliability 3.1."""

import math

import msgspec
from starlette.responses import Response

from protocol.http.errors import HttpError
from protocol.model import (
    BadRequest,
    Blocked,
    Forbidden,
    GatewayError,
    ModelDowngraded,
    ModelUnknown,
    RateLimited,
    Refused,
    Saturated,
    SignedOut,
    Unauthorized,
    UpstreamFailed,
    UpstreamTimeout,
)

_STATUS: tuple[tuple[type[GatewayError], int, str], ...] = (
    (BadRequest, 400, "invalid_request_error"),
    (Refused, 400, "invalid_request_error"),
    (Unauthorized, 401, "invalid_request_error"),
    (Forbidden, 403, "permission_error"),
    (ModelUnknown, 404, "invalid_request_error"),
    (RateLimited, 429, "rate_limit_error"),
    (UpstreamTimeout, 504, "server_error"),
    (UpstreamFailed, 502, "server_error"),
    (SignedOut, 503, "server_error"),
    (Blocked, 503, "server_error"),
    (Saturated, 503, "server_error"),
    (GatewayError, 500, "server_error"),
)
_PERSON_SECONDS = 60
_SDK_PATIENCE = 120
"""The longest time in seconds that the SDKs wait before a retry."""

_encode = msgspec.json.Encoder().encode


class Error(msgspec.Struct, frozen=True):
    """An error in OpenAI's form."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of an error response."""

    error: Error


def status_of(error: GatewayError) -> tuple[int, str]:
    """Return an error's HTTP status and OpenAI's `type`."""
    if isinstance(error, HttpError):
        return error.status, "invalid_request_error"
    return next((status, kind) for cls, status, kind in _STATUS if isinstance(error, cls))


def error_body(error: GatewayError) -> bytes:
    """Return an error as JSON."""
    _, kind = status_of(error)
    param = error.param if isinstance(error, BadRequest) else None
    if isinstance(error, ModelUnknown):
        param = "model"
    return _encode(ErrorBody(Error(message=error.message, type=kind, param=param, code=error.code)))


def error_response(error: GatewayError) -> Response:
    """Return an error as a response, with headers that tell an SDK whether and when to retry."""
    status, _ = status_of(error)
    headers: dict[str, str] = {}
    match error:
        case Unauthorized():
            headers = {"WWW-Authenticate": "Bearer"}
        case SignedOut():
            headers = {"Retry-After": str(_PERSON_SECONDS), "x-should-retry": "false"}
        case Blocked():
            seconds = math.ceil(error.retry_after if error.retry_after is not None else _PERSON_SECONDS)
            headers = {"Retry-After": str(seconds), "x-should-retry": "false"}
        case RateLimited():
            seconds = math.ceil(error.retry_after if error.retry_after is not None else _PERSON_SECONDS)
            headers = {"Retry-After": str(seconds)}
            if seconds > _SDK_PATIENCE:
                headers["x-should-retry"] = "false"
        case Saturated():
            headers = {"Retry-After": str(math.ceil(error.retry_after))}
        case (
            BadRequest() | Refused() | Forbidden() | UpstreamFailed(code="upstream_outcome_unknown") | ModelDowngraded()
        ):
            headers = {"x-should-retry": "false", **(error.headers if isinstance(error, HttpError) else {})}
        case _:
            pass
    return Response(error_body(error), status, headers, media_type="application/json")


def in_stream(error: GatewayError) -> bytes:
    """Return an error as the last event of a stream; no `[DONE]` follows."""
    return b"data: " + error_body(error) + b"\n\n"
