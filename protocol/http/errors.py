"""Errors of HTTP requests that are independent of the dialect, and the types of what writes them."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from protocol.model import BadRequest, GatewayError, Saturated, Unauthorized

ASGIResponse = Callable[[Any, Any, Any], Awaitable[None]]
Refuse = Callable[[GatewayError], ASGIResponse]
"""Writes an error in the form of a dialect."""

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

CLIENT_GONE = "client_closed_request"
"""The code that is recorded for a request whose client disconnected before the end."""


class HttpError(BadRequest):
    """A bad request with an HTTP status of its own."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        """Take the status, the public code, a message fit for the client, and headers of the response."""
        super().__init__(message, code=code)
        self.status, self.headers = status, headers


class ClientGone(Exception):
    """The client disconnected before the response."""


def license_revoked() -> Unauthorized:
    """Return the error of requests whose license ends while they are open."""
    return Unauthorized("This license has been revoked.", code="license_revoked")


def shutting_down() -> Saturated:
    """Return the error of requests that shutdown cuts short."""
    return Saturated("The gateway is shutting down.", code="shutting_down")
