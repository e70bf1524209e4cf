"""Errors of HTTP requests that are independent of the dialect: their statuses, headers, and the types of their writers.

The SDKs of several vendors read `Retry-After` and `x-should-retry`. Source: reliability 3.1.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from protocol.model import (
    BadRequest,
    Blocked,
    Forbidden,
    GatewayError,
    ModelDowngraded,
    ModelUnknown,
    Overloaded,
    RateLimited,
    Refused,
    RequestTooLarge,
    Saturated,
    SignedOut,
    Unauthorized,
    UpstreamFailed,
    UpstreamTimeout,
)

ASGIResponse = Callable[[Any, Any, Any], Awaitable[None]]
Refuse = Callable[[GatewayError], ASGIResponse]
"""Writes an error in the form of a dialect."""

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_STATUS: tuple[tuple[type[GatewayError], int], ...] = (
    (RequestTooLarge, 413),
    (BadRequest, 400),
    (Refused, 400),
    (Unauthorized, 401),
    (Forbidden, 403),
    (ModelUnknown, 404),
    (RateLimited, 429),
    (UpstreamTimeout, 504),
    (Overloaded, 503),
    (UpstreamFailed, 502),
    (SignedOut, 503),
    (Blocked, 503),
    (Saturated, 503),
)
_PERSON_SECONDS = 60
_SDK_PATIENCE = 120
"""The longest time in seconds that the SDKs wait before a retry."""

CLIENT_GONE = "client_closed_request"
"""The code that is recorded for a request whose client disconnected before the end."""


class HttpError(BadRequest):
    """A bad request with an HTTP status of its own."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        """Take the status, the public code, a message fit for the client, and headers of the response."""
        super().__init__(message, code=code)
        self.status, self.headers = status, headers


def status_of(error: GatewayError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, HttpError):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def headers_of(error: GatewayError) -> dict[str, str]:
    """Return the headers of an error's response, which tell an SDK whether and when to retry."""
    match error:
        case Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case SignedOut():
            after, retried = float(_PERSON_SECONDS), False
        case Blocked() | RateLimited():
            after = error.retry_after if error.retry_after is not None else _PERSON_SECONDS
            retried = isinstance(error, RateLimited) and math.ceil(after) <= _SDK_PATIENCE
        case Saturated() | Overloaded() if error.retry_after is not None:
            after, retried = error.retry_after, True
        case (
            BadRequest()
            | Refused()
            | Forbidden()
            | ModelDowngraded()
            | UpstreamFailed(code="upstream_outcome_unknown" | "model_output_invalid")
        ):
            return {"x-should-retry": "false", **(error.headers if isinstance(error, HttpError) else {})}
        case _:
            return {}
    return {"Retry-After": str(math.ceil(after)), **({} if retried else {"x-should-retry": "false"})}


class ClientGone(Exception):
    """The client disconnected before the response."""


def license_revoked() -> Unauthorized:
    """Return the error of requests whose license ends while they are open."""
    return Unauthorized("This license has been revoked.", code="license_revoked")


def shutting_down() -> Saturated:
    """Return the error of requests that shutdown cuts short."""
    return Saturated("The gateway is shutting down.", code="shutting_down")
