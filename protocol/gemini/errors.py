"""Errors in Google's form (google.rpc.Status): `{"error": {"code", "message", "status", "details"}}`."""

import msgspec
from starlette.responses import Response

from protocol.http.errors import headers_of, status_of
from protocol.model import BadRequest, GatewayError

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_REASONS = {"invalid_api_key": "API_KEY_INVALID"}
"""Google's own names of reasons, by which clients decide; others are the code that OpenAI's clients get."""
_UPSTREAM_FAILED = 502
"""Google's APIs do not have this status."""
_RPC = "type.googleapis.com/google.rpc."
_DOMAIN = "gemini-gateway"

_encode = msgspec.json.Encoder().encode


class FieldViolation(msgspec.Struct, frozen=True):
    """A field at fault."""

    field: str
    description: str


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A detail of an error; its type says which of the fields it has."""

    type: str = msgspec.field(name="@type")
    reason: str = ""
    domain: str = ""
    retry_delay: str = ""
    field_violations: tuple[FieldViolation, ...] = ()


class RpcError(msgspec.Struct, frozen=True):
    """An error in Google's form."""

    code: int
    message: str
    status: str
    details: list[ErrorDetail]


class RpcErrorBody(msgspec.Struct, frozen=True):
    """The body of an error response."""

    error: RpcError


def rpc_error(error: GatewayError) -> bytes:
    """Return an error as JSON."""
    status = _code_of(error)
    details = [
        ErrorDetail(type=f"{_RPC}ErrorInfo", reason=_REASONS.get(error.code, error.code.upper()), domain=_DOMAIN)
    ]
    if isinstance(error, BadRequest) and error.param:
        violation = FieldViolation(field=error.param, description=error.message)
        details.append(ErrorDetail(type=f"{_RPC}BadRequest", field_violations=(violation,)))
    after = headers_of(error).get("Retry-After")
    if after is not None:
        details.append(ErrorDetail(type=f"{_RPC}RetryInfo", retry_delay=f"{after}s"))
    name = _STATUS.get(status, "INVALID_ARGUMENT")
    return _encode(RpcErrorBody(RpcError(code=status, message=error.message, status=name, details=details)))


def rpc_error_response(error: GatewayError) -> Response:
    """Return an error as a response."""
    return Response(rpc_error(error), _code_of(error), headers_of(error), media_type="application/json")


def _code_of(error: GatewayError) -> int:
    status = status_of(error)
    return 500 if status == _UPSTREAM_FAILED else status
