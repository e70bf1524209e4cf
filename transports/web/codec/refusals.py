"""Read responses of the site with a status other than 200; no I/O. Source: "Codes"."""

from collections.abc import Mapping
from itertools import chain
from typing import Any, cast

from protocol.model import DriftDetected, GatewayError
from transports.http import retry_after
from transports.web import wire
from transports.web.codec import jspb
from transports.web.codec.frames import FrameParser
from transports.web.codec.incremental_json import loads
from transports.web.errors import error_for_http

LONGEST_REFUSAL = 64 * 1024
"""Maximum number of bytes to read of such a response."""
_DEPTH = 7


def answer_error(status: int, headers: Mapping[str, str], body: bytes = b"") -> GatewayError:
    """Return the error for a response other than 200; the error carries the access token of its body."""
    token = token_in(body) if status == 400 else None
    location = headers.get("Location", "")
    return error_for_http(status, location=location, retry_after=retry_after(headers), token=token)


def token_in(body: bytes) -> str | None:
    """Return the access token in the body of an HTTP 400, or None."""
    frames = FrameParser(LONGEST_REFUSAL)
    try:
        for frame in chain(frames.feed(body[:LONGEST_REFUSAL]), frames.end()):
            for part in jspb.array(loads(frame)):
                token = token_of(part)
                if token is not None:
                    return token
    except DriftDetected:
        pass
    return None


def status_in(part: Any) -> int:
    """Return the HTTP status in the part of a failed call; 0 if it is missing."""
    return jspb.integer(part, wire.FAILURE_STATUS) or 0


def token_of(part: Any) -> str | None:
    """Return the access token in the part of a failed call, or None."""
    if jspb.text(part, wire.PART_KIND) != wire.PART_FAILURE:
        return None
    return _marked(part, _DEPTH)


def _marked(value: Any, depth: int) -> str | None:
    """Return the text after the token's marker, anywhere in `value`."""
    if not depth:
        return None
    if isinstance(value, dict):
        children = list(cast("dict[str, Any]", value).values())
    else:
        children = cast("list[Any]", value) if isinstance(value, list) else []
        if children[:1] == [wire.TOKEN_MARK]:
            token = jspb.text(children, 1) or ""
            return token if token.isascii() and token.isprintable() and token else None
    return next((token for child in children if (token := _marked(child, depth - 1))), None)
