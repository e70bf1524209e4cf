"""Admin API errors: their HTTP status and their body `{"error": {"code", "message"}}`."""

import math
from collections.abc import Generator
from contextlib import contextmanager

import msgspec
import structlog
from starlette.responses import Response

from protocol.http.errors import HttpError
from protocol.model import BadRequest, GatewayError, ModelUnknown, Saturated, Unauthorized
from service.accounts.service import AccountError
from service.admin.wire import AdminError, AdminErrorBody

_MALFORMED = {"invalid_json", "invalid_utf8"}
_ACCOUNT_STATUSES = {
    "not_found": 404,
    "exists": 409,
    "defined_in_settings": 409,
    "unusable": 409,
    "invalid_value": 422,
    "check_failed": 422,
}
_STORE_SECONDS = 5.0

_log = structlog.get_logger()
_encode = msgspec.json.Encoder().encode


def status_of(error: GatewayError) -> int:
    """Return the HTTP status of an error."""
    match error:
        case HttpError():
            return error.status
        case BadRequest():
            return 400 if error.code in _MALFORMED else 422
        case ModelUnknown():
            return 422
        case Unauthorized():
            return 401
        case Saturated():
            return 503
        case _:
            return 500


def refusal(error: GatewayError, headers: dict[str, str] | None = None) -> Response:
    """Build the response for an error."""
    extended = {"Cache-Control": "no-store", **(headers or {})}
    if isinstance(error, Unauthorized):
        extended["WWW-Authenticate"] = "Bearer"
    if isinstance(error, HttpError):
        extended.update(error.headers)
    if isinstance(error, Saturated):
        extended["Retry-After"] = str(math.ceil(error.retry_after))
    body = AdminErrorBody(error=AdminError(code=error.code, message=error.message))
    return Response(_encode(body), status_of(error), extended, media_type="application/json")


@contextmanager
def map_errors() -> Generator[None]:
    """Convert account and store errors to errors with an HTTP status."""
    try:
        yield
    except AccountError as error:
        text = str(error)
        sentence = f"{text[:1].upper()}{text[1:].rstrip('.')}."
        raise HttpError(_ACCOUNT_STATUSES[error.code], error.code, sentence) from None
    except OSError as error:
        _log.warning("admin_store_failed", reason=error.strerror or str(error))
        message = "The store does not answer; check that it is running. The change may or may not have been made."
        raise Saturated(message, retry_after=_STORE_SECONDS, code="store_unavailable") from None
