"""The outgoing HTTP client, and the one place that maps its errors.

aiohttp's errors hold request headers, so nothing of them is chained or logged.
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

from protocol.model import Certainty, StoredFile, UpstreamFailed, UpstreamTimeout

_HEADER_LIMIT = 65536
_PIECE = 128 * 1024
_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks5": 1080, "socks5h": 1080}
_SOCKS = frozenset({"socks4", "socks5", "socks5h"})

Seconds = Annotated[float, Meta(gt=0, le=86400)]


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long one request may wait at each step, in seconds."""

    connect: Seconds = 10.0
    """For a connection, from the pool or new."""
    socket_connect: Seconds = 5.0
    first_frame: Seconds = 60.0
    """From the request to the first valid frame."""
    between_frames: Seconds = 90.0
    """Between two valid frames; bytes that make no frame do not count."""
    call: Seconds = 15.0
    """For a short call, as a whole."""


@aiohttp.payload_type(StoredFile)
class _StoredPayload(aiohttp.Payload):
    """Sends a file of a request from disk; where it is not in the page cache, in threads. It may be sent again.

    `_value` and `_autoclose` are what subclasses of `aiohttp.Payload` define (aiohttp/payload.py, `BytesPayload`): the
    content, and that nothing has to be closed. `tests/transports/web/media/test_upload.py` sends files through it.
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
    """Return what to trust: the certificates in `ca_file`, or the system's.

    Raises:
        ValueError: there are none in it; the message names the file.

    """
    if ca_file is None:
        return True
    try:
        found = ca_file.stat()
        return _context(ca_file, (found.st_ino, found.st_size, found.st_mtime_ns))
    except ssl.SSLError:
        raise ValueError(f"ca_file: {ca_file} holds no certificate") from None
    except OSError as error:
        raise ValueError(f"ca_file: cannot read {ca_file}: {error.strerror}") from None


@lru_cache(maxsize=4)
def _context(ca_file: Path, _state: tuple[int, int, int]) -> ssl.SSLContext:
    """Return what trusts a file in its present state: accounts share it, since a system's CAs take a megabyte."""
    context = ssl.create_default_context(cafile=ca_file)
    if not context.cert_store_stats()["x509"]:
        raise ValueError(f"ca_file: {ca_file} holds no certificate")
    return context


@asynccontextmanager
async def client(
    timeouts: Timeouts, *, proxy: str | None = None, ca_file: Path | None = None
) -> AsyncGenerator[aiohttp.ClientSession]:
    """Yield a client with no cookie jar and no environment, one per account; `ca_file` replaces the system's CAs.

    Through a `proxy` with `socks5h` the names of hosts are looked up, with `socks5` and `socks4` here.
    """
    socks = proxy is not None and urlsplit(proxy).scheme in _SOCKS
    connector = _socks(proxy, ca_file) if proxy is not None and socks else _direct(ca_file)
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
        with anyio.CancelScope(shield=True):  # its connections are closed, whatever ends it
            await session.close()


def _direct(ca_file: Path | None) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(limit=0, ttl_dns_cache=30, ssl=trusted(ca_file))


def _socks(proxy: str, ca_file: Path | None) -> aiohttp.TCPConnector:
    from transports.socks import SocksConnector

    parts = urlsplit(proxy)
    return SocksConnector(
        parts.scheme,
        parts.hostname or "",
        parts.port or _PORTS[parts.scheme],
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        limit=0,
        ssl=trusted(ca_file),
    )


def way_out(proxy: str | None) -> str:
    """Return what names a proxy without its credentials; empty: there is none.

    Raises:
        ValueError: it is no address of a proxy; the message holds nothing of it.

    """
    if proxy is None:
        return ""
    try:
        parts = urlsplit(proxy)
        return f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
    except (ValueError, KeyError):
        raise ValueError("is no address of a proxy") from None


def mapped(error: Exception, *, started: bool = False) -> UpstreamFailed:
    """Return this gateway's error for one of the client's; `started`: the answer had begun.

    Raise it `from None`: the original holds the request's headers.
    """
    match error:
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return _no_proxy()
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            late = isinstance(error, TimeoutError)
            return _not_sent(
                UpstreamTimeout("The upstream did not accept a connection in time.")
                if late
                else UpstreamFailed("The upstream cannot be reached.", code="upstream_reset"),
            )
        case TimeoutError():
            return UpstreamTimeout("The upstream did not answer in time.", code="upstream_stalled" if started else None)
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | OSError():
            return UpstreamFailed("The upstream broke the connection.", code="upstream_reset")
        case _:
            return UpstreamFailed("The upstream's answer is no valid HTTP.")


def _no_proxy() -> UpstreamFailed:
    """Return the error of a proxy that is down, or that does not let us through to the host."""
    return _not_sent(UpstreamFailed("The account's proxy does not connect.", code="upstream_reset"))


def _not_sent(error: UpstreamFailed) -> UpstreamFailed:
    error.certainty = Certainty.NOT_SENT
    return error


CLIENT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""What a call through the client can raise besides cancellation."""


def is_html(headers: Mapping[str, str]) -> bool:
    """Say whether headers announce HTML; aiohttp's `content_type` keeps 1.6 KiB for as long as the response is open."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/html"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read a `Retry-After` given in seconds."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 7 else None
