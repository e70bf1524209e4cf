"""Reads a whole body at once, under a cap and a deadline, and decodes it."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import msgspec

from protocol.http.context import Limits
from protocol.http.faults import ClientGone, HttpFault
from protocol.model import BadRequest

ValueT = TypeVar("ValueT")

_BYTES_PER_SECOND = 256 * 1024
_LONGEST_FACTOR = 4
_OFF_LOOP_BYTES = 1024 * 1024
_DISCARDED_BYTES = 1024 * 1024
_DISCARD_SECONDS = 1.0
_PATH_SHOWN = 128
_MISSING = re.compile("Object missing required field `([^`]+)`")


async def read_body(scope: Any, receive: Callable[[], Any], limits: Limits) -> bytes:
    """Return the request's body.

    Raises:
        HttpFault: it is too long (413), too slow (408) or compressed (415).
        ClientGone: the client left before the end.

    """
    scope[UNREAD] = True
    headers = dict(scope["headers"])
    if headers.get(b"content-encoding", b"identity").strip().lower() not in {b"", b"identity"}:
        raise HttpFault(415, "unsupported_media_type", "A request's body may not be compressed.")
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limits.body_bytes:
        await discard_body(scope, receive)
        raise _too_large(limits)
    start = anyio.current_time()
    body = bytearray()
    more = True
    with anyio.CancelScope(deadline=start + limits.body_seconds) as patience:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limits.body_bytes:
                await discard_body(scope, receive)
                raise _too_large(limits)
            earned = min(len(body) / _BYTES_PER_SECOND, (_LONGEST_FACTOR - 1) * limits.body_seconds)
            patience.deadline = start + limits.body_seconds + earned
    if more:
        raise HttpFault(408, "request_timeout", "The request's body did not arrive in time.")
    del scope[UNREAD]
    return bytes(body)


UNREAD = "gemini_gateway.unread"
"""A key of the scope, set where a part of the body was left unread: the connection cannot be used again."""


async def discard_body(scope: Any, receive: Callable[[], Any]) -> None:
    """Take a little of what still comes, so that a client that is sending sees the answer."""
    seen = 0
    with anyio.move_on_after(_DISCARD_SECONDS):
        while seen < _DISCARDED_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return
            seen += len(message.get("body", b""))
    scope[UNREAD] = True


def _too_large(limits: Limits) -> HttpFault:
    return HttpFault(413, "request_too_large", f"The request's body is longer than {limits.body_bytes} bytes.")


async def decode_body(body: bytes, decode: Callable[[bytes], ValueT]) -> ValueT:
    """Decode a body with a msgspec decoder's `decode`; a long one beside the event loop.

    Raises:
        BadRequest: `invalid_json`, `invalid_utf8`, or `invalid_value` with the field's path in `param`.

    """
    if len(body) > _OFF_LOOP_BYTES:
        return await anyio.to_thread.run_sync(_decode, body, decode)
    return _decode(body, decode)


def _decode(body: bytes, decode: Callable[[bytes], ValueT]) -> ValueT:
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        path = path.rstrip("`").removeprefix("$")
        missing = _MISSING.match(reason)
        if missing:
            path = f"{path}.{missing[1]}"
        param = path.removeprefix(".")[:_PATH_SHOWN] or None
        where = f" (at '{param}')" if param else ""
        raise BadRequest(f"{_printable(reason)}{where}.", param=param) from None
    except UnicodeDecodeError:
        raise BadRequest("The request's body is not valid UTF-8.", code="invalid_utf8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else _printable(str(error))
        raise BadRequest(f"The request's body is not valid JSON: {reason}.", code="invalid_json") from None


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:_PATH_SHOWN]).rstrip(".")
