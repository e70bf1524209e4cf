"""Checks the head of a request by RFC 9110 and RFC 9112, beyond what h11 checks.

h11 0.16 accepts any `Host`, request targets of any form, any number of headers and control characters in their values;
and it refuses a coding behind `chunked` with 501, where RFC 9112 section 6.3 requires 400.
"""

import re
from functools import lru_cache
from typing import Any

import h11
import msgspec

from protocol.http.errors import HttpError
from service.server.authority import parse_authority

Headers = list[tuple[bytes, bytes]]

MOST_HEADERS = 200
MOST_PARAMETERS = 500
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
"""Methods that some path of the gateway may allow; other methods are not implemented."""
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)(.*)", re.IGNORECASE)
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CODINGS = re.compile(rb"^transfer-encoding:[ \t]*(.*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


class HeadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on what a server reads of a request."""

    header_bytes: int = 32 * 1024
    """Maximum length of the request line, and of the whole head."""
    body_bytes: int = 30 * 1024 * 1024
    """Maximum length of a body."""


class RequestHead(msgspec.Struct, frozen=True, kw_only=True):
    """The checked head of a request."""

    path: bytes
    """The path, without the scheme and host of an absolute-form target."""
    query: bytes
    headers: Headers
    """Names in lower case; always with one `host`."""


def check_head(request: h11.Request, limits: HeadLimits, address: Any) -> RequestHead:
    """Check the head of a request that was sent to a local `address`, a host and a port.

    Raises:
        HttpError: it is invalid (400), too long (414, 431), or not supported (501, 505).

    """
    headers = [(name.lower(), value) for name, value in request.headers.raw_items()]
    if not request.http_version.startswith(b"1."):
        raise HttpError(505, "http_version", "This server speaks HTTP/1.1. Send HTTP/1.1; HTTP/2 ends at the ingress.")
    _check_headers(request, headers, limits.header_bytes)
    if request.method not in _METHODS:
        raise HttpError(501, "method_not_implemented", "This method is not implemented. Use GET or POST.")
    _check_host(request, headers, address)
    target, host = _split_target(request)
    if host is not None:  # RFC 9112 section 3.2.2: it replaces the header's
        headers = [(name, host if name == b"host" else value) for name, value in headers]
    path, _, query = target.partition(b"?")
    if query.count(b"&") >= MOST_PARAMETERS:
        raise _invalid(f"The query has more than {MOST_PARAMETERS} parameters.")
    return RequestHead(path=path, query=query, headers=headers)


def _check_host(request: h11.Request, headers: Headers, address: Any) -> None:
    """Check `Host` (RFC 9112 section 3.2); an HTTP/1.0 request without it gets that of the local `address`."""
    hosts = [value for name, value in headers if name == b"host"]
    if not hosts and request.http_version < b"1.1":
        host, port = address[:2] if address else ("localhost", 80)
        headers.append((b"host", (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()))
    elif len(hosts) != 1 or not _is_valid_host(hosts[0]):
        raise _invalid("The Host header is missing or not valid. Send this server's name or address, with its port.")


def _check_headers(request: h11.Request, headers: Headers, most: int) -> None:
    """Check the lengths of a head, and the framing of the body (RFC 9112 section 6.1)."""
    line = len(request.method) + len(request.target) + len(" HTTP/1.1 \r\n")
    if line > most:
        raise _long_line(most)
    names, values = [name for name, _ in headers], b"".join([value for _, value in headers])
    if line + len(b"".join(names)) + len(values) + 4 * len(headers) > most:
        raise _long_head(most)
    if len(headers) > MOST_HEADERS:
        raise HttpError(431, "headers_too_large", f"The request has more than {MOST_HEADERS} headers.")
    if _CONTROLS.search(values) is not None:
        raise _invalid("A header contains a control character.")
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version < b"1.1"):
        raise _invalid("Transfer-Encoding goes only with HTTP/1.1 and without Content-Length. Send one of the two.")


def _split_target(request: h11.Request) -> tuple[bytes, bytes | None]:
    """Return a request target in origin-form, and the host if it was in absolute-form (RFC 9112 section 3.2)."""
    target = request.target
    if target.startswith(b"/") or (target == b"*" and request.method == b"OPTIONS"):
        return target, None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise _invalid("The request target is not valid. Send a path that begins with '/', or an http URL.")
    host, path = absolute.groups()
    if not _is_valid_host(host):
        raise _invalid("The host of the request target is not valid. Send this server's name or address.")
    return (path if path.startswith(b"/") else b"/" + path), host


@lru_cache(256)
def _is_valid_host(value: bytes) -> bool:
    return parse_authority(value.decode("latin-1")) is not None


def parse_error(error: h11.RemoteProtocolError, received: bytes, limits: HeadLimits) -> HttpError:
    """Return the error for a request that h11 refuses.

    `received` is its head as far as it was received; it is empty if the body is invalid.
    """
    if error.error_status_hint == 431 and received:
        newline = received.find(b"\n", 0, limits.header_bytes)
        return _long_line(limits.header_bytes) if newline < 0 else _long_head(limits.header_bytes)
    if error.error_status_hint == 501:
        codings = [one.strip() for one in b",".join(_CODINGS.findall(received)).lower().split(b",")]
        if codings[-1] != b"chunked" or codings.count(b"chunked") > 1:
            return _invalid("The last transfer coding must be 'chunked', once. Send Transfer-Encoding: chunked.")
        return HttpError(501, "transfer_coding", "Only the transfer coding 'chunked' is supported.")
    reason = str(error).partition(":")[0].partition("(")[0].strip()  # without the client's own bytes
    return _invalid(f"The request is not valid HTTP/1.1: {reason}.")


def _long_line(most: int) -> HttpError:
    return HttpError(414, "uri_too_long", f"The request line is longer than {most} bytes.")


def _long_head(most: int) -> HttpError:
    return HttpError(431, "headers_too_large", f"The request's headers are longer than {most} bytes.")


def _invalid(message: str) -> HttpError:
    return HttpError(400, "invalid_request", message)
