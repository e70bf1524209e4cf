"""Errors in Anthropic's form: `{"type": "error", "error": {"type", "message"}, "request_id"}`.

Source: reliability 3.1.
"""

from typing import Any

import msgspec
from starlette.responses import Response

from protocol.http.context import context_of
from protocol.http.errors import headers_of, status_of
from protocol.model import GatewayError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Anthropic's `type` by the HTTP status."""
_TOO_LONG = "prompt is too long: "
"""The beginning of the message that makes Claude Code compact a conversation."""
NO_THREADS = "thread_unsupported_request"
"""The code of the error after which the SDK sends a conversation again as a whole."""


class ErrorDetails(msgspec.Struct, frozen=True, kw_only=True):
    """The code of an error that clients handle themselves."""

    error_code: str


class AnthropicError(msgspec.Struct, frozen=True, kw_only=True):
    """The type and the message of an error."""

    type: str
    message: str
    details: ErrorDetails | msgspec.UnsetType = msgspec.UNSET


class AnthropicErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an error response, and the last event of a stream that failed."""

    type: str = "error"
    error: AnthropicError
    request_id: str | msgspec.UnsetType = msgspec.UNSET


def anthropic_error(error: GatewayError, request_id: str | msgspec.UnsetType = msgspec.UNSET) -> bytes:
    """Return an error as JSON, with the id of its request if that is known."""
    status = status_of(error)
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    message = (_TOO_LONG if error.code == "context_length_exceeded" else "") + error.message
    details = ErrorDetails(error_code=error.code) if error.code == NO_THREADS else msgspec.UNSET
    told = AnthropicError(type=kind, message=message, details=details)
    return msgspec.json.encode(AnthropicErrorBody(error=told, request_id=request_id))


class AnthropicErrorResponse(Response):
    """An error; its body gets the id of the request when it is sent."""

    media_type = "application/json"

    def __init__(self, error: GatewayError) -> None:
        """Take an error; headers tell an SDK whether and when to retry."""
        super().__init__(anthropic_error(error), status_of(error), headers_of(error))
        self._error = error

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the response."""
        self.body = anthropic_error(self._error, context_of(scope).id)
        self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)
