"""Fetches what a caller's URL names, if the operator allows it: public addresses only, and nothing told of others.

Every URL, a redirect's too, is read once and checked by its text; what its name resolves to is checked, and the
address of each socket once more before it connects, so that no name can point elsewhere in between. All that fails
fails alike: one message, after one of a few set times, so that nobody can look around a network through it.
"""

import ipaddress
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import aiohttp.abc
import anyio
import msgspec
from yarl import URL

from protocol.http.context import Collect, Fetch
from protocol.model import BadRequest, Content
from service.config.schema import Fetch as FetchSettings
from service.config.schema import Origin, SettingsError
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
"""Seconds at which a failure is told; one that took longer is told at the deadline."""

Resolve = aiohttp.abc.AbstractResolver
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[str | int, ...]]


class _NotFetched(Exception):
    """It shall not be, or cannot be; nobody is told which."""


class FetchTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long a fetch may take, in seconds, and how many go on at once."""

    connect: float = 3.0
    total: float = 10.0
    failure_seconds: tuple[float, ...] = _FAILURE_SECONDS
    at_once: int = 16

    def failure_after(self, passed: float) -> float:
        """Return how long after its beginning a failure is told that took so long."""
        return next((at for at in self.failure_seconds if at >= passed), self.total)


async def refuse_to_fetch(url: str, collect: Collect, *, most: int) -> Content:  # noqa: ARG001 -- the interface's
    """Refuse, since the settings do not allow it.

    Raises:
        BadRequest: always.

    """
    message = "This gateway does not fetch URLs; send the content itself, as a data URL."
    raise BadRequest(message, code="image_url_not_allowed")


@asynccontextmanager
async def fetching(settings: FetchSettings, public_url: str, origin: Origin) -> AsyncGenerator[Fetch]:
    """Yield what the settings allow; never a way to this gateway itself.

    Raises:
        SettingsError: what is refused cannot be read.

    """
    policy = fetch_policy(settings, public_url, origin)
    if not settings.enabled:
        yield refuse_to_fetch
        return
    timeouts = FetchTimeouts(connect=settings.connect_seconds, total=settings.total_seconds, at_once=settings.at_once)
    async with open_fetcher(policy, timeouts) as fetch:
        yield fetch


def fetch_policy(settings: FetchSettings, public_url: str, origin: Origin) -> FetchPolicy:
    """Return how far the settings let it go.

    Raises:
        SettingsError: what is refused, or this gateway's own address, cannot be read.

    """
    try:
        own = URL(public_url).raw_host
    except ValueError:
        raise SettingsError(f"{origin.name}: server.public_url: is no address of a gateway") from None
    try:
        return FetchPolicy.of(settings.hosts, (*settings.refuse, *((own,) if own else ())))
    except ValueError as error:
        raise SettingsError(f"{origin.name}: fetch.refuse: {error}") from None


@asynccontextmanager
async def open_fetcher(
    policy: FetchPolicy, timeouts: FetchTimeouts, resolver: Resolve | None = None
) -> AsyncGenerator[Fetch]:
    """Yield a fetcher with a client of its own, which knows no cookie, no proxy and no environment."""
    connector = aiohttp.TCPConnector(
        resolver=_CheckedResolver(resolver or aiohttp.ThreadedResolver(), policy.allows_address),
        socket_factory=_checked_socket_factory(policy.allows_address),
        use_dns_cache=False,
        force_close=True,
        limit=timeouts.at_once,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_HEADERS,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect),
        trust_env=False,
        auto_decompress=False,
    ) as session:
        yield Fetcher(session, policy, timeouts)


class Fetcher:
    """Fetches public files (`protocol.http.context.Fetch`)."""

    def __init__(self, session: aiohttp.ClientSession, policy: FetchPolicy, timeouts: FetchTimeouts) -> None:
        """Use a client whose sockets are guarded."""
        self._session, self._policy, self._timeouts = session, policy, timeouts
        self._slots = anyio.Semaphore(timeouts.at_once)

    async def __call__(self, url: str, collect: Collect, *, most: int) -> Content:
        """Return what `collect` makes of at most `most` bytes of a public http(s) address.

        Raises:
            BadRequest: `image_url_unreachable`, whatever the reason.

        """
        start = anyio.current_time()
        try:
            with anyio.fail_after(self._timeouts.total):
                first = self._read(url, None)
                async with self._slots:
                    return await self._follow(first, collect, most)
        except (_NotFetched, aiohttp.ClientError, TimeoutError, OSError, ValueError):
            await anyio.sleep_until(start + self._timeouts.failure_after(anyio.current_time() - start))
            message = "The URL cannot be fetched: it must lead to a file at a public address, by http or https."
            raise BadRequest(message, code="image_url_unreachable") from None

    async def _follow(self, url: URL, collect: Collect, most: int) -> Content:
        for _ in range(_MOST_REDIRECTS + 1):
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status == 200:
                    return await collect(_body(response, most))
                if response.status not in _REDIRECTS:
                    raise _NotFetched
                url = self._read(response.headers.get("Location", ""), url)
        raise _NotFetched

    def _read(self, text: str, base: URL | None) -> URL:
        """Return the URL of a text, a redirect's where there is a base, if it may be asked at all.

        Raises:
            _NotFetched: it may not.

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
        if not is_plain or url.raw_password is not None or not self._is_allowed_host(host):
            raise _NotFetched
        return url.with_fragment(None)

    def _is_allowed_host(self, host: str) -> bool:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            name = host.removesuffix(".")
            return _NAME.fullmatch(name) is not None and self._policy.allows_host(name)
        return self._policy.allows_host(host) and self._policy.allows_address(host)


async def _body(response: aiohttp.ClientResponse, most: int) -> AsyncIterator[bytes]:
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"", "identity"} or (response.content_length or 0) > most:
        raise _NotFetched
    async for piece in response.content.iter_any():
        yield piece


class _CheckedResolver(aiohttp.abc.AbstractResolver):
    """Resolves names all of whose addresses are allowed."""

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


def _checked_socket_factory(allows: Callable[[str], bool]) -> Callable[[AddressInfo], socket.socket]:
    """Return a maker of sockets for allowed addresses only: the last look, at what will be connected to."""

    def make(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if not allows(str(address[0])):
            raise OSError
        return socket.socket(family, kind, protocol)

    return make
