"""The outgoing HTTP client, and the one place that maps its errors.

aiohttp's errors hold request headers, so nothing of them is chained or logged.
"""

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import aiohttp
import msgspec
from msgspec import Meta

from protocol.model import Certainty, UpstreamFailed, UpstreamTimeout

_HEADER_LIMIT = 65536


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


def trusted(ca_file: Path | None) -> ssl.SSLContext | bool:
    """Return what to trust: the certificates in `ca_file`, or the system's.

    Raises:
        ValueError: there are none in it; the message names the file.

    """
    if ca_file is None:
        return True
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise ValueError(f"ca_file: {ca_file} holds no certificate") from None
    except OSError as error:
        raise ValueError(f"ca_file: cannot read {ca_file}: {error.strerror}") from None
    if not context.cert_store_stats()["x509"]:
        raise ValueError(f"ca_file: {ca_file} holds no certificate")
    return context


@asynccontextmanager
async def client(
    timeouts: Timeouts, *, proxy: str | None = None, ca_file: Path | None = None
) -> AsyncGenerator[aiohttp.ClientSession]:
    """Yield a client with no cookie jar and no environment, one per account; `ca_file` replaces the system's CAs."""
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=30, ssl=trusted(ca_file))
    timeout = aiohttp.ClientTimeout(
        total=None,
        connect=timeouts.connect,
        sock_connect=timeouts.socket_connect,
        sock_read=timeouts.between_frames,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
        trust_env=False,
        proxy=proxy,
        max_line_size=_HEADER_LIMIT,
        max_field_size=_HEADER_LIMIT,
    ) as session:
        yield session


def mapped(error: Exception, *, started: bool = False) -> UpstreamFailed:
    """Return this gateway's error for one of the client's; `started`: the answer had begun.

    Raise it `from None`: the original holds the request's headers.
    """
    match error:
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


def _not_sent(error: UpstreamFailed) -> UpstreamFailed:
    error.certainty = Certainty.NOT_SENT
    return error


CLIENT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""What a call through the client can raise besides cancellation."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read a `Retry-After` given in seconds."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 7 else None
