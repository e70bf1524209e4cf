"""Errors that the server itself writes, for requests that reach no dialect."""

from collections.abc import Callable
from typing import Any

import msgspec

from protocol.http.errors import HttpError

ErrorBody = Callable[[HttpError, Any], bytes]
"""Returns the body of an error as JSON; the second argument is the scope of the request, as far as it is known."""


def error_body(error: HttpError, _scope: Any = None) -> bytes:
    """Return the body of an error in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`."""
    fields = {"message": error.message, "type": "invalid_request_error", "param": None, "code": error.code}
    return msgspec.json.encode({"error": fields})
