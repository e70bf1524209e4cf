"""Fetches the files that callers name by URL, from public addresses only (SSRF protection).

Each URL, including redirects, is checked three times: its text, all addresses that its name resolves to, and each
address again before a socket connects to it. The socket connects to that address and not to the name, so DNS rebinding
does not help. Licenses share the fetches (`FairSlots`), and `fetch_http` bounds what a server may send.

All failures look alike (one message, after one of a few fixed delays), so that a caller cannot scan a private network.
For example, `http://10.0.0.1/` and a name without an address both fail with `image_url_unreachable` after one second.
"""

import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache, partial

import anyio
import anyio.abc
import anyio.to_thread
import h11
from yarl import URL

from protocol.http.context import Collect, Fetch
from protocol.http.fair_slots import FairSlots
from protocol.model import BadRequest, Content
from service.config.schema import FetchSettings, Origin, SettingsError
from service.media.fetch_http import Get, OverBudget
from service.media.fetch_policy import FetchPolicy

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3
_MOST_ADDRESSES = 4
"""Addresses of a name that are tried."""
_LONGEST_URL = 8192
_ODD = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_NAME = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+(?!\d+$|0x)[a-z0-9-]{2,63}")
_tls_context = cache(ssl.create_default_context)
_FAILURE_SECONDS = (1.0, 4.0)
"""Seconds after which a failure is reported; one that took longer is reported at the deadline."""

Address = tuple[str, int]
"""An IP address and a port."""
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
"""Returns the addresses of a host name, with the port to connect to."""


class _NotFetched(Exception):
    """The URL is refused or unreachable; the caller does not learn which."""


async def refuse_to_fetch(
    url: str,  # noqa: ARG001 -- the interface's, as the others
    collect: Collect,  # noqa: ARG001
    *,
    most: int,  # noqa: ARG001
    license_id: str,  # noqa: ARG001
) -> Content:
    """Refuse every URL: fetching is disabled in the settings.

    Raises:
        BadRequest: always.

    """
    message = "This gateway does not fetch URLs; send the content itself, as a data URL."
    raise BadRequest(message, code="image_url_not_allowed")


@asynccontextmanager
async def fetching(
    settings: FetchSettings, public_url: str, origin: Origin, licenses: Callable[[], int]
) -> AsyncGenerator[Fetch]:
    """Yield the fetcher that the settings allow; it refuses the gateway's own address.

    `licenses` returns the number of licenses, which share the fetches.

    Raises:
        SettingsError: as `fetch_policy`.

    """
    policy = fetch_policy(settings, public_url, origin)
    if not settings.enabled:
        yield refuse_to_fetch
        return
    limiter = anyio.CapacityLimiter(settings.concurrency)
    yield Fetcher(policy, settings, partial(resolve, limiter), licenses=licenses)


def fetch_policy(settings: FetchSettings, public_url: str, origin: Origin) -> FetchPolicy:
    """Return the fetch policy of the settings.

    Raises:
        SettingsError: an entry of `fetch.deny`, or `server.public_url`, is invalid.

    """
    try:
        own = URL(public_url).raw_host
    except ValueError:
        where = f"{origin.of('server.public_url')}: server.public_url"
        raise SettingsError(f"{where}: not a valid URL; write it as https://HOST") from None
    try:
        return FetchPolicy.of(settings.allow, (*settings.deny, *((own,) if own else ())))
    except ValueError as error:
        raise SettingsError(f"{origin.of('fetch.deny')}: fetch.deny: {error}") from None


async def resolve(limiter: anyio.CapacityLimiter, host: str, port: int) -> Sequence[Address]:
    """Return the addresses of a host name.

    It is looked up in threads of `limiter`, because the upstream's names need the event loop's own threads; a name
    server that does not answer holds a thread for half a minute.

    Raises:
        OSError: it has none.

    """
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=limiter)
    return [(str(address), port) for *_, (address, *_) in found]


class Fetcher:
    """Fetches public files (`protocol.http.context.Fetch`), without cookies, a proxy or settings of the environment."""

    def __init__(
        self,
        policy: FetchPolicy,
        settings: FetchSettings,
        resolve: Resolve,
        failure_seconds: Sequence[float] = _FAILURE_SECONDS,
        *,
        licenses: Callable[[], int],
    ) -> None:
        """Connect to the addresses that `policy` allows of those that `resolve` returns."""
        self._policy, self._resolve, self._failure_seconds = policy, resolve, failure_seconds
        self._total, self._connect_seconds = settings.total_seconds, settings.connect_seconds
        self._slots, self._turn = FairSlots(settings.concurrency, licenses), anyio.Lock()

    def failure_after(self, passed: float) -> float:
        """Return when, counted from the start, to report a failure that occurred after `passed` seconds."""
        return next((at for at in self._failure_seconds if at >= passed), self._total)

    async def __call__(self, url: str, collect: Collect, *, most: int, license_id: str) -> Content:
        """Return what `collect` makes of at most `most` bytes of a public http(s) address.

        Raises:
            BadRequest: `image_url_unreachable`, for every reason.

        """
        start = anyio.current_time()
        ignored = (_NotFetched, OverBudget, h11.ProtocolError, anyio.BrokenResourceError, OSError, ValueError)
        with suppress(*ignored), anyio.fail_after(self._total):  # TimeoutError is an OSError
            target = self._read(url, None)
            async with self._slots.of(license_id):
                for _ in range(_MOST_REDIRECTS + 1):
                    stream = await self._connect(target)
                    try:
                        get = Get(stream, self._turn)
                        response = await get.send(target)
                        if response.status_code == 200:
                            return await collect(_body(get, response, most))
                    finally:
                        await anyio.aclose_forcefully(stream)
                    if response.status_code not in _REDIRECTS:
                        break
                    target = self._read(_header(response, b"location"), target)
        await anyio.sleep_until(start + self.failure_after(anyio.current_time() - start))
        message = "The URL cannot be fetched: it must lead to a file at a public address, by http or https."
        raise BadRequest(message, code="image_url_unreachable")

    async def _connect(self, url: URL) -> anyio.abc.ByteStream:
        """Return a connection to one of the addresses of a URL's host; all of them must be allowed.

        Raises:
            _NotFetched: an address is not allowed, or none answers.

        """
        host, port = url.raw_host or "", url.port or 0
        addresses = [(host, port)] if _is_address(host) else await self._resolve(host, port)
        if not all(self._policy.allows_address(address) for address, _ in addresses):
            raise _NotFetched
        tls, name = (_tls_context() if url.scheme == "https" else None), host.removesuffix(".")
        for address, port in addresses[:_MOST_ADDRESSES]:
            if not self._policy.allows_address(address):
                break
            with suppress(OSError, anyio.BrokenResourceError), anyio.fail_after(self._connect_seconds):
                if tls is None:
                    return await anyio.connect_tcp(address, port)
                return await anyio.connect_tcp(
                    address, port, ssl_context=tls, tls_hostname=name, tls_standard_compatible=False
                )
        raise _NotFetched

    def _read(self, text: str, base: URL | None) -> URL:
        """Parse and check a URL; for a redirect, `base` is the URL that it came from.

        Raises:
            _NotFetched: the URL is not allowed.

        """
        if not text or len(text) > _LONGEST_URL or _ODD.search(text):
            raise _NotFetched
        try:
            parsed = URL(text)
            url = parsed if base is None else base.join(parsed)
            port = url.port
        except ValueError:
            raise _NotFetched from None
        host = "" if parsed.scheme and not parsed.raw_host else (url.raw_host or "").lower()
        downgraded = base is not None and base.scheme == "https" and url.scheme != "https"
        is_plain = port is not None and port == _PORTS.get(url.scheme) and url.raw_user is None and not downgraded
        if _is_address(host):
            allowed = self._policy.allows_host(host) and self._policy.allows_address(host)
        else:
            name = host.removesuffix(".")
            allowed = _NAME.fullmatch(name) is not None and self._policy.allows_host(name)
        if not is_plain or url.raw_password is not None or not allowed:
            raise _NotFetched
        return url.with_fragment(None)


async def _body(get: Get, response: h11.Response, most: int) -> AsyncIterator[bytes]:
    length = _header(response, b"content-length") or "0"
    if _header(response, b"content-encoding").lower() not in {"", "identity"} or int(length) > most:
        raise _NotFetched
    async for piece in get.body():
        yield piece


def _header(response: h11.Response, name: bytes) -> str:
    """Return a header of a response; empty: there is none."""
    return next((value.decode("latin-1").strip() for field, value in response.headers if field == name), "")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
