"""Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`. Source: reliability 3.1."""

import msgspec
from starlette.responses import Response

from protocol.http.errors import HttpError, headers_of, status_of
from protocol.model import BadRequest, Forbidden, GatewayError, ModelUnknown, RateLimited

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


def type_of(error: GatewayError) -> str:
    """Return OpenAI's `type` of an error."""
    if isinstance(error, Forbidden):
        return "permission_error"
    if isinstance(error, RateLimited):
        return "rate_limit_error"
    refused = isinstance(error, HttpError) or status_of(error) < 500
    return "invalid_request_error" if refused else "server_error"


def error_body(error: GatewayError) -> bytes:
    """Return an error as JSON."""
    param = error.param if isinstance(error, BadRequest) else None
    if isinstance(error, ModelUnknown):
        param = "model"
    return _encode(ErrorBody(Error(message=error.message, type=type_of(error), param=param, code=error.code)))


def error_response(error: GatewayError) -> Response:
    """Return an error as a response, with headers that tell an SDK whether and when to retry."""
    return Response(error_body(error), status_of(error), headers_of(error), media_type="application/json")


def in_stream(error: GatewayError) -> bytes:
    """Return an error as the last event of a stream; no `[DONE]` follows."""
    return b"data: " + error_body(error) + b"\n\n"
