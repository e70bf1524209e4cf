"""Fetches the files that callers name by URL, from public addresses only (SSRF protection).

Each URL, including redirects, is checked three times: its text, all addresses that its name resolves to, and the
address of each socket before it connects, so that DNS rebinding does not help. All failures look alike (one message,
after one of a few fixed delays), so that a caller cannot scan a private network. For example, `http://10.0.0.1/` and
a name without an address both fail with `image_url_unreachable` after one second.
"""

import ipaddress
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import aiohttp
import aiohttp.abc
import anyio
from yarl import URL

from protocol.http.context import Collect, Fetch
from protocol.model import BadRequest, Content
from service.config.schema import FetchSettings, Origin, SettingsError
from service.media.fetch_policy import FetchPolicy

_HEADERS = {
    "User-Agent": "gemini-gateway (image fetcher)",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
}
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3
_LONGEST_URL = 8192
_ODD = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_NAME = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+(?!\d+$|0x)[a-z0-9-]{2,63}")
_FAILURE_SECONDS = (1.0, 4.0)
"""Seconds after which a failure is reported; one that took longer is reported at the deadline."""

Resolve = aiohttp.abc.AbstractResolver
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[str | int, ...]]


class _NotFetched(Exception):
    """The URL is refused or unreachable; the caller does not learn which."""


async def refuse_to_fetch(url: str, collect: Collect, *, most: int) -> Content:  # noqa: ARG001 -- the interface's
    """Refuse every URL: fetching is disabled in the settings.

    Raises:
        BadRequest: always.

    """
    message = "This gateway does not fetch URLs; send the content itself, as a data URL."
    raise BadRequest(message, code="image_url_not_allowed")


@asynccontextmanager
async def fetching(settings: FetchSettings, public_url: str, origin: Origin) -> AsyncGenerator[Fetch]:
    """Yield the fetcher that the settings allow; it refuses the gateway's own address.

    Raises:
        SettingsError: as `fetch_policy`.

    """
    policy = fetch_policy(settings, public_url, origin)
    if not settings.enabled:
        yield refuse_to_fetch
        return
    async with open_fetcher(policy, settings) as fetch:
        yield fetch


def fetch_policy(settings: FetchSettings, public_url: str, origin: Origin) -> FetchPolicy:
    """Return the fetch policy of the settings.

    Raises:
        SettingsError: an entry of `fetch.deny`, or `server.public_url`, is invalid.

    """
    try:
        own = URL(public_url).raw_host
    except ValueError:
        raise SettingsError(f"{origin.name}: server.public_url: not a valid URL; write it as https://HOST") from None
    try:
        return FetchPolicy.of(settings.allow, (*settings.deny, *((own,) if own else ())))
    except ValueError as error:
        raise SettingsError(f"{origin.name}: fetch.deny: {error}") from None


@asynccontextmanager
async def open_fetcher(
    policy: FetchPolicy,
    settings: FetchSettings,
    resolver: Resolve | None = None,
    failure_seconds: Sequence[float] = _FAILURE_SECONDS,
) -> AsyncGenerator[Fetch]:
    """Yield a fetcher with its own HTTP client, which uses no cookies, no proxy and no environment settings."""

    def open_socket(info: AddressInfo) -> socket.socket:
        """Refuse an address that is not allowed: the last check before connecting."""
        family, kind, protocol, _, address = info
        if not policy.allows_address(str(address[0])):
            raise OSError
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        resolver=_CheckedResolver(resolver or aiohttp.ThreadedResolver(), policy.allows_address),
        socket_factory=open_socket,
        use_dns_cache=False,
        force_close=True,
        limit=settings.concurrency,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_HEADERS,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_seconds),
        trust_env=False,
        auto_decompress=False,
    ) as session:
        yield Fetcher(session, policy, settings, failure_seconds)


class Fetcher:
    """Fetches public files (`protocol.http.context.Fetch`)."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        policy: FetchPolicy,
        settings: FetchSettings,
        failure_seconds: Sequence[float] = _FAILURE_SECONDS,
    ) -> None:
        """Use a client session whose resolver and sockets check `policy`."""
        self._session, self._policy = session, policy
        self._total, self._failure_seconds = settings.total_seconds, failure_seconds
        self._slots = anyio.Semaphore(settings.concurrency)

    def failure_after(self, passed: float) -> float:
        """Return when, counted from the start, to report a failure that occurred after `passed` seconds."""
        return next((at for at in self._failure_seconds if at >= passed), self._total)

    async def __call__(self, url: str, collect: Collect, *, most: int) -> Content:
        """Return what `collect` makes of at most `most` bytes of a public http(s) address.

        Raises:
            BadRequest: `image_url_unreachable`, for every reason.

        """
        start = anyio.current_time()
        ignored = (_NotFetched, aiohttp.ClientError, TimeoutError, OSError, ValueError)
        with suppress(*ignored), anyio.fail_after(self._total):
            target = self._read(url, None)
            async with self._slots:
                for _ in range(_MOST_REDIRECTS + 1):
                    async with self._session.get(target, allow_redirects=False) as response:
                        if response.status == 200:
                            return await collect(_body(response, most))
                        if response.status not in _REDIRECTS:
                            break
                        target = self._read(response.headers.get("Location", ""), target)
        await anyio.sleep_until(start + self.failure_after(anyio.current_time() - start))
        message = "The URL cannot be fetched: it must lead to a file at a public address, by http or https."
        raise BadRequest(message, code="image_url_unreachable")

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
        try:
            ipaddress.ip_address(host)
        except ValueError:
            name = host.removesuffix(".")
            allowed = _NAME.fullmatch(name) is not None and self._policy.allows_host(name)
        else:
            allowed = self._policy.allows_host(host) and self._policy.allows_address(host)
        if not is_plain or url.raw_password is not None or not allowed:
            raise _NotFetched
        return url.with_fragment(None)


async def _body(response: aiohttp.ClientResponse, most: int) -> AsyncIterator[bytes]:
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"", "identity"} or (response.content_length or 0) > most:
        raise _NotFetched
    async for piece in response.content.iter_any():
        yield piece


class _CheckedResolver(aiohttp.abc.AbstractResolver):
    """Resolves names; fails if any of the addresses is not allowed."""

    def __init__(self, resolver: Resolve, allows: Callable[[str], bool]) -> None:
        self._resolver, self._allows = resolver, allows

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not all(self._allows(answer["host"]) for answer in found):
            raise OSError
        return found

    async def close(self) -> None:
        await self._resolver.close()
