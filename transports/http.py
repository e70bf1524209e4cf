"""Opens the outgoing HTTP client of an account, and maps its errors.

aiohttp's errors contain request headers, and so cookies. `mapped` therefore creates new errors, which are raised
`from None`; aiohttp's are never chained or logged.
"""

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import aiohttp
import anyio
import anyio.to_thread
import msgspec
from aiohttp.abc import AbstractStreamWriter
from msgspec import Meta

from protocol.model import Certainty, Disconnected, StoredFile, UpstreamFailed, UpstreamTimeout
from transports.proxy import LOGIN_REFUSED, HttpProxyConnector, ProxyFailed

_HEADER_LIMIT = 65536
_PIECE = 128 * 1024
_UNREACHABLE = "The upstream cannot be reached."
"""Callers do not read about operators' proxies."""
_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks5": 1080, "socks5h": 1080}
_SOCKS = frozenset({"socks4", "socks5", "socks5h"})

Seconds = Annotated[float, Meta(gt=0, le=86400)]


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Timeouts of one upstream request, in seconds."""

    connect: Seconds = 10.0
    """Getting a connection, from the pool or a new one."""
    socket_connect: Seconds = 5.0
    first_frame: Seconds = 60.0
    """From the request to the first valid frame."""
    between_frames: Seconds = 90.0
    """Between two valid frames; bytes that do not complete a frame do not count."""
    call: Seconds = 15.0
    """The whole of a short call."""


@aiohttp.payload_type(StoredFile)
class _StoredPayload(aiohttp.Payload):
    """Sends a file of a request from disk, in threads unless it is in the page cache. It can be sent repeatedly.

    `_value` and `_autoclose` are what subclasses of `aiohttp.Payload` define (aiohttp/payload.py, `BytesPayload`): the
    content, and whether it needs no closing. `tests/transports/web/media/test_upload.py` sends files through it.
    """

    _value: StoredFile
    _autoclose = True

    @property
    def size(self) -> int:
        return self._value.size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.whole().decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        at, end = 0, self.size if content_length is None else min(content_length, self.size)
        while at < end:
            size = min(_PIECE, end - at)
            piece = self._value.read_cached(at, size)
            if piece is None:
                piece = await anyio.to_thread.run_sync(self._value.read, at, size)
            if not piece:
                return
            await writer.write(piece)
            at += len(piece)


def trusted(ca_file: Path | None) -> ssl.SSLContext | bool:
    """Return the TLS trust: the certificates in `ca_file`, or the system's.

    Raises:
        ValueError: the file contains no certificate; the message names it.

    """
    if ca_file is None:
        return True
    try:
        found = ca_file.stat()
        return _context(ca_file, (found.st_ino, found.st_size, found.st_mtime_ns))
    except ssl.SSLError:
        raise ValueError(f"ca_file: {ca_file} contains no certificate") from None
    except OSError as error:
        raise ValueError(f"ca_file: cannot read {ca_file}: {error.strerror}") from None


@lru_cache(maxsize=4)
def _context(ca_file: Path, _state: tuple[int, int, int]) -> ssl.SSLContext:
    """Return the TLS context of a file in its current state; accounts share it, because it takes a megabyte."""
    context = ssl.create_default_context(cafile=ca_file)
    if not context.cert_store_stats()["x509"]:
        raise ValueError(f"ca_file: {ca_file} contains no certificate")
    return context


@asynccontextmanager
async def client(
    timeouts: Timeouts, *, proxy: str | None = None, ca_file: Path | None = None
) -> AsyncGenerator[aiohttp.ClientSession]:
    """Yield an account's client. It has no cookie jar and ignores the environment; `ca_file` replaces the system's CAs.

    A `socks5h` proxy resolves host names itself; with `socks5` and `socks4`, this process resolves them.
    """
    socks = proxy is not None and urlsplit(proxy).scheme in _SOCKS
    if proxy is not None and socks:
        from transports.socks import SocksConnector

        parts = urlsplit(proxy)
        connector = SocksConnector(
            parts.scheme,
            parts.hostname or "",
            parts.port or _PORTS[parts.scheme],
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            limit=0,
            ssl=trusted(ca_file),
        )
    else:
        kind = aiohttp.TCPConnector if proxy is None else HttpProxyConnector
        connector = kind(limit=0, ttl_dns_cache=30, ssl=trusted(ca_file))
    timeout = aiohttp.ClientTimeout(
        total=None,
        connect=timeouts.connect,
        sock_connect=timeouts.socket_connect,
        sock_read=timeouts.between_frames,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
        trust_env=False,
        proxy=None if socks else proxy,
        max_line_size=_HEADER_LIMIT,
        max_field_size=_HEADER_LIMIT,
    )
    try:
        yield session
    finally:
        with anyio.CancelScope(shield=True):  # closes its connections, even when cancelled
            await session.close()


def egress_of(proxy: str | None) -> str:
    """Return the address of a proxy without its credentials; empty: no proxy.

    Raises:
        ValueError: the address is invalid; the message shows nothing of it.

    """
    if proxy is None:
        return ""
    try:
        parts = urlsplit(proxy)
        return f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
    except (ValueError, KeyError):
        raise ValueError("not a valid proxy address") from None


def mapped(error: Exception, *, started: bool = False) -> UpstreamFailed:
    """Return this gateway's error for an error of the client; `started`: the response had begun.

    Raise it `from None`: the original contains the request's headers.
    """
    match error:
        case ProxyFailed():
            return _not_sent(Disconnected(_UNREACHABLE, problem=error.problem))
        case aiohttp.ConnectionTimeoutError():
            return _not_sent(UpstreamTimeout("The upstream did not accept a connection in time."))
        case aiohttp.ClientConnectorError():
            return _not_sent(Disconnected(_UNREACHABLE))
        case TimeoutError():
            return UpstreamTimeout("The upstream did not answer in time.", code="upstream_stalled" if started else None)
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | OSError():
            return Disconnected("The upstream broke the connection.")
        case _:
            return Disconnected("The upstream's answer is not valid HTTP.", code="upstream_protocol_error")


def login_refused() -> UpstreamFailed:
    """Return the error for a response 407, which only a proxy sends (RFC 9110, 15.5.8)."""
    return mapped(ProxyFailed(LOGIN_REFUSED))


def _not_sent(error: UpstreamFailed) -> UpstreamFailed:
    error.certainty = Certainty.NOT_SENT
    return error


CLIENT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""Errors that a call of the client can raise."""


def is_html(headers: Mapping[str, str]) -> bool:
    """Return whether headers announce HTML. aiohttp's `content_type` would cache 1.6 KiB per open response."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/html"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a `Retry-After` header, or None."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 7 else None
