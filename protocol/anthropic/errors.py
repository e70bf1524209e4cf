"""Errors in Anthropic's form: `{"type": "error", "error": {"type", "message"}}`. Source: reliability 3.1."""

import msgspec
from starlette.responses import Response

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


def anthropic_error(error: GatewayError) -> bytes:
    """Return an error as JSON."""
    status = status_of(error)
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    message = (_TOO_LONG if error.code == "context_length_exceeded" else "") + error.message
    details = ErrorDetails(error_code=error.code) if error.code == NO_THREADS else msgspec.UNSET
    return msgspec.json.encode(AnthropicErrorBody(error=AnthropicError(type=kind, message=message, details=details)))


def anthropic_error_response(error: GatewayError) -> Response:
    """Return an error as a response, with headers that tell an SDK whether and when to retry."""
    return Response(anthropic_error(error), status_of(error), headers_of(error), media_type="application/json")
