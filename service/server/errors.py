"""Errors that the server itself writes, in OpenAI's form, for requests that reach no dialect."""

import msgspec

from protocol.http.errors import HttpError


def error_body(error: HttpError) -> bytes:
    """Return the body of an error: `{"error": {"message", "type", "param", "code"}}`."""
    fields = {"message": error.message, "type": "invalid_request_error", "param": None, "code": error.code}
    return msgspec.json.encode({"error": fields})
