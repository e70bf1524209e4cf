"""The outgoing HTTP client, and the one place that maps its errors.

aiohttp's errors hold request headers, so nothing of them is chained or logged.
"""

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from protocol.model import Certainty, UpstreamFailed, UpstreamTimeout

_HEADER_LIMIT = 65536


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long one request may wait at each step, in seconds."""

    connect: float = 10.0
    """For a connection, from the pool or new."""
    socket_connect: float = 5.0
    first_frame: float = 60.0
    """From the request to the first valid frame."""
    between_frames: float = 90.0
    """Between two valid frames; bytes that make no frame do not count."""
    call: float = 15.0
    """For a short call, as a whole."""


@asynccontextmanager
async def client(
    timeouts: Timeouts, *, proxy: str | None = None, ca_file: Path | None = None
) -> AsyncGenerator[aiohttp.ClientSession]:
    """Yield a client with no cookie jar and no environment, one per account; `ca_file` replaces the system's CAs."""
    trust = ssl.create_default_context(cafile=ca_file) if ca_file is not None else True
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=30, ssl=trust)
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
