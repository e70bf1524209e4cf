r"""Writes HTTP/1.1 responses as bytes.

How a client finds the end of a body follows from the head. `Framing` decides it when the head is written, and frames
each piece of the body accordingly:

    content-length in the head      the bytes themselves; their number is checked
    HTTP/1.1 without a length       chunks: `5\r\nhello\r\n`, and `0\r\n\r\n` at the end
    HTTP/1.0 without a length       the bytes themselves; closing the connection ends the body
    HEAD, 204, 304                  nothing
"""

from typing import Any

import h11

_WITHOUT_BODY = {204, 304}
_OURS = {b"connection", b"transfer-encoding"}
"""Headers of a response that `Framing` writes itself."""


class Framing:
    """The framing of one response."""

    def __init__(self, message: Any, request: h11.Request, lines: list[bytes], *, close: bool) -> None:
        """Frame a response that begins with an ASGI message; `lines` are additional header lines.

        Raises:
            h11.LocalProtocolError: a header contains a line break.

        """
        status = int(message["status"])
        headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        self._bodiless = status in _WITHOUT_BODY or request.method.upper() == b"HEAD"
        self._left = next((int(value) for name, value in headers if name.lower() == b"content-length"), None)
        """Bytes of the body that are still to come; None: the head has no length."""
        old = request.http_version < b"1.1"
        self._chunked = self._left is None and not old
        if self._left is None and old and not self._bodiless:
            close = True
        tokens = tokens_of(headers, b"connection")
        self.keeps = not close and b"close" not in tokens
        """Whether the connection stays open for another request."""
        lines = [b"HTTP/1.1 %d " % status, *[b"%b: %b" % pair for pair in headers if pair[0] not in _OURS], *lines]
        if self._chunked and status not in _WITHOUT_BODY:
            lines.append(b"Transfer-Encoding: chunked")
        if not self.keeps and b"close" not in tokens:
            lines.append(b"Connection: " + b", ".join(sorted((tokens - {b"keep-alive"}) | {b"close"})))
        elif tokens:
            lines.append(b"connection: " + b", ".join(sorted(tokens)))
        head = b"\r\n".join(lines)
        if head.count(b"\n") >= len(lines) or head.count(b"\r") >= len(lines) or b"\0" in head:
            raise h11.LocalProtocolError("A header contains a line break.")
        self.head = head + b"\r\n\r\n"

    def piece(self, body: bytes) -> bytes:
        """Return a piece of the body, framed."""
        if self._bodiless or not body:
            return b""
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0:
                raise h11.LocalProtocolError("Too much data for declared Content-Length")
        return b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else bytes(body)

    def end(self) -> bytes:
        """Return the bytes that end the body."""
        if self._bodiless:
            return b""
        if self._left:
            raise h11.LocalProtocolError("Too little data for declared Content-Length")
        return b"0\r\n\r\n" if self._chunked else b""


def tokens_of(headers: list[tuple[bytes, bytes]], wanted: bytes) -> set[bytes]:
    """Return the tokens of a list header, in lower case."""
    values = [value for name, value in headers if name == wanted]
    return {token.strip().lower() for value in values for token in value.split(b",")} if values else set()
