"""Read answers to batch calls, and responses with a status other than 200; no I/O.

Source: "Batch calls", "Codes".
"""

from collections.abc import Mapping
from itertools import chain
from typing import Any, cast

import msgspec

from protocol.model import DriftDetected, GatewayError, UpstreamFailed
from transports.http import login_refused, retry_after
from transports.web import wire
from transports.web.codec import jspb
from transports.web.codec.codes import error_for_code
from transports.web.codec.frames import FrameParser, loads
from transports.web.errors import error_for_http


class BatchAnswers(msgspec.Struct, frozen=True):
    """The answers to a batch call by RPC id."""

    payloads: dict[str, Any]
    """The last payload of each RPC; None if the site rejected one of its calls."""
    rejections: dict[str, int]
    """The site's reason codes for rejected calls, as far as it sent them."""

    def get(self, rpc: str) -> Any:
        """Return an RPC's payload; None if it was rejected or is missing."""
        return self.payloads.get(rpc)

    def denied(self, rpc: str) -> bool:
        """Return whether the site denied an RPC: the session is signed out, or the account may not make the call."""
        return self.rejections.get(rpc) == wire.REJECTED_DENIED


def decode_batch(data: bytes, max_frame: int) -> BatchAnswers:
    """Read the answer to a batch call.

    Raises:
        GatewayError: the answer carries an error code, or has an unknown form.

    """
    parser = FrameParser(max_frame)
    answers: dict[str, Any] = {}
    rejections: dict[str, int] = {}
    parts = (
        part
        for frame in chain(parser.feed(data), parser.end())
        for part in jspb.array([loads(frame)], 0)
        if jspb.text(part, wire.PART_KIND) in {wire.PART_ANSWER, wire.PART_FAILURE}
    )
    for part in parts:
        code = jspb.integer(part, wire.PART_ERROR, *wire.ERROR_CODE)
        rpc, body = jspb.text(part, wire.PART_RPC), jspb.text(part, wire.PART_BODY)
        error: GatewayError | None = None
        if jspb.text(part, wire.PART_KIND) == wire.PART_FAILURE:
            error = error_for_http(status_in(part), token=token_of(part))
        elif code is not None and rpc is None:
            error = error_for_code(code)
        if error is not None and not answers:
            raise error
        if rpc is not None and error is None:
            rejected = rpc in answers and answers[rpc] is None
            answers[rpc] = loads(body) if body is not None and not rejected else None
            reason = jspb.integer(part, *wire.PART_REJECTION)
            if body is None and reason is not None:
                rejections[rpc] = reason
    if parser.in_frame:
        raise UpstreamFailed("The upstream's answer broke off.", code="upstream_truncated")
    return BatchAnswers(answers, rejections)


LONGEST_REFUSAL = 64 * 1024
"""Maximum number of bytes to read of such a response."""

_DEPTH = 7


def answer_error(status: int, headers: Mapping[str, str], body: bytes = b"") -> GatewayError:
    """Return the error for a response other than 200; the error carries the access token of its body."""
    if status == 407:
        return login_refused()
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
