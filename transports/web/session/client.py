"""HTTP client of the site for one account. Source: "Common request parts", "Batch calls"."""

import random
import uuid
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import aiohttp
import anyio
from yarl import URL

from protocol.model import Certainty, Disconnected, UpstreamFailed
from transports.http import CLIENT_ERRORS, is_html, mapped
from transports.web import wire
from transports.web.codec import encode
from transports.web.codec.batch import BatchAnswers, answer_error, decode_batch
from transports.web.config import WebAccount, WebConfig
from transports.web.errors import StaleToken, html_instead_of_frames
from transports.web.session import cookies
from transports.web.session.background import BackgroundWork
from transports.web.session.page import AppPage
from transports.web.session.store import SessionStore

_PAGE_LIMIT = 8 * 1024 * 1024


_LAST_BYTES_SECONDS = 0.5
"""How long a complete answer may take to end its HTTP body, before its connection is closed."""


class SiteClient:
    """Sends requests with an account's cookies, or without any for a guest (`session_store` is None)."""

    def __init__(
        self,
        config: WebConfig,
        http: aiohttp.ClientSession,
        background: BackgroundWork,
        *,
        session_store: SessionStore | None,
        account: WebAccount | None = None,
    ) -> None:
        """Start with a new client identity and request counter; a guest has no `account`."""
        self.config = config
        self.background = background
        self.session_store = session_store
        self.client_uuid = str(uuid.uuid4())
        self.access_token: str | None = None
        """The session's newest access token, from a page or from an HTTP 400; None: unknown, or a guest.

        This secret is not stored: each process gets its own from its first HTTP 400, which the site sends before it
        does any work.
        """
        self.http = http
        self._user_agent = (account.user_agent if account is not None else None) or config.user_agent
        authuser = account.authuser if account is not None else None
        self._prefix = "" if authuser is None else wire.USER_PREFIX.format(authuser)
        self.user_headers = {} if authuser is None else {wire.USER_HEADER: str(authuser)}
        """Headers of the site's calls that name one of several accounts of a browser profile."""
        self._endpoints: dict[str, URL] = {}
        timeouts = config.timeouts
        self._no_read_timeout = aiohttp.ClientTimeout(connect=timeouts.connect, sock_connect=timeouts.socket_connect)
        self._request_id = random.randint(*wire.REQUEST_ID_FIRST)  # noqa: S311 -- a counter's start, no secret

    def url(self, path: str) -> str:
        """Return the address of one of the site's own paths."""
        return f"{self.config.hosts.site}{self._prefix}{path}"

    def query(self, page: AppPage) -> dict[str, str]:
        """Return the query parameters of the next call; values that the page lacks are left out."""
        request_id, self._request_id = self._request_id, self._request_id + wire.REQUEST_ID_STEP
        query = {
            wire.QUERY_BUILD_LABEL: page.build_label,
            wire.QUERY_SESSION_ID: page.session_id,
            wire.QUERY_LANGUAGE: page.language,
            wire.QUERY_REQUEST_ID: str(request_id),
            wire.QUERY_RESPONSE: wire.RESPONSE_CHUNKED,
        }
        return {name: value for name, value in query.items() if value}

    def request(
        self,
        method: str,
        url: str | URL,
        headers: dict[str, str],
        *,
        only: Iterable[str] | None = None,
        **options: Any,
    ) -> Any:
        """Return a request to enter, with all cookies or those named in `only`; redirects are not followed."""
        headers = {"User-Agent": self._user_agent, **headers}
        if self.session_store is not None:
            cookie = cookies.header(self.session_store.cookies, only)
            headers |= {"Cookie": cookie} if cookie else {}
        request = self.http.request(method, url, headers=headers, allow_redirects=False, **options)
        if self.session_store is None or only is not None or str(url).endswith((wire.APP_PATH, wire.ROTATE_PATH)):
            return request
        return SiteResponse(request, partial(self.note_cookies, since=self.cookies_version))

    def post(self, path: str, page: AppPage, headers: dict[str, str], data: bytes) -> Any:
        """Return a POST to one of the site's paths, to be awaited once; pass the response to `note_cookies`.

        There is no read timeout: the caller has its own timer.
        """
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            endpoint = self._endpoints[path] = URL(self.url(path))
        url = endpoint.with_query(self.query(page))
        headers = {"User-Agent": self._user_agent, **headers, **self.user_headers}
        cookie = self.session_store.cookie_header if self.session_store is not None else ""
        if cookie:
            headers["Cookie"] = cookie
        return self.http.request(
            "POST", url, headers=headers, data=data, allow_redirects=False, timeout=self._no_read_timeout
        )

    @property
    def cookies_version(self) -> int:
        """Number that changes when the session is renewed."""
        return self.session_store.version if self.session_store is not None else 0

    def note_cookies(self, response: aiohttp.ClientResponse, *, since: int) -> None:
        """Save the cookies of a response in the background, unless the session was renewed after version `since`."""
        session_store, set_cookies = self.session_store, response.headers.getall("Set-Cookie", [])
        if session_store is None or not set_cookies or response.status != 200 or is_html(response.headers):
            return
        if str(response.url.origin()) != str(URL(self.config.hosts.site).origin()):
            return
        seconds = session_store.note_cookies(set_cookies, since=since)
        if seconds is not None:
            self.background.later(seconds, "save_cookies", session_store.save_noted)

    async def call(self, method: str, url: str, headers: dict[str, str], **options: Any) -> tuple[int, Any, bytes]:
        """Make a short call; return status, headers and body.

        Raises:
            UpstreamFailed: no complete answer came in time.

        """
        try:
            with anyio.fail_after(self.config.timeouts.call):
                async with self.request(method, url, headers, **options) as response:
                    body = bytearray()
                    async for chunk in response.content.iter_any():
                        body += chunk
                        if len(body) > _PAGE_LIMIT:
                            response.close()
                            raise UpstreamFailed("The upstream's page is too long.")
                    return response.status, response.headers, bytes(body)
        except CLIENT_ERRORS as error:
            raise mapped(error) from None

    async def reach(self) -> None:
        """Connect to the site, without a cookie; see `transports.account.Account.reach`."""
        status, headers, _ = await self.call("GET", f"{self.config.hosts.site}{wire.ROBOTS_PATH}", {}, only=())
        if status == 407:
            raise answer_error(status, headers)

    def finish_response(self, response: aiohttp.ClientResponse) -> None:
        """Read a complete answer's last bytes in the background, so that its connection can be reused."""
        if response.connection is not None:
            self.background.later(0.0, "end_answer", partial(_end, response))

    async def batch(self, page: AppPage, *calls: tuple[str, str], source_path: str = wire.APP_PATH) -> BatchAnswers:
        """Make batch calls; retry once with the token of an HTTP 400. `source_path` is the page they belong to.

        The calls read, delete or ping, so they may be made twice: if the connection breaks, they are made once more.
        An idle connection breaks when the site closes it while a call is on its way.

        Raises:
            StaleToken: the site refused the new token as well.
            StaleBuild: the page is stale; load it and call once more.
            GatewayError: the site did not answer as it should.

        """
        try:
            return await self._batch(page, calls, source_path)
        except StaleToken as error:
            self.use_token(error)
        return await self._batch(page, calls, source_path)

    def use_token(self, error: StaleToken) -> None:
        """Use the token of a refusal from now on; a guest has none."""
        self.access_token = error.token if self.session_store is not None else None

    async def _batch(self, page: AppPage, calls: tuple[tuple[str, str], ...], source_path: str) -> BatchAnswers:
        query = self.query(page) | {
            wire.QUERY_RPC_IDS: ",".join(rpc for rpc, _ in calls),
            wire.QUERY_SOURCE_PATH: f"{self._prefix}{source_path}",
        }
        own = encode.batch_headers(self.config.hosts.site, self.client_uuid) | self.user_headers
        form = encode.batch_form(calls, self.access_token)
        url = self.url(wire.BATCH_PATH)
        try:
            status, headers, body = await self.call("POST", url, own, params=query, data=form)
        except Disconnected as error:
            if error.certainty is Certainty.NOT_SENT:
                raise
            status, headers, body = await self.call("POST", url, own, params=query, data=form)
        if status != 200:
            raise answer_error(status, headers, body)
        if body.lstrip()[:1] == b"<":
            raise html_instead_of_frames()
        return decode_batch(body, self.config.max_frame)


class SiteResponse:
    """A request to enter or await that passes its response to a callback first."""

    def __init__(self, request: Any, on_response: Callable[[aiohttp.ClientResponse], None]) -> None:
        """Call `on_response` when the response headers arrive."""
        self._request, self._on_response = request, on_response

    def __await__(self) -> Generator[Any, None, aiohttp.ClientResponse]:
        """Return the response."""
        return self._answer(self._request).__await__()

    async def __aenter__(self) -> aiohttp.ClientResponse:
        """Return the response; it closes with the context."""
        return await self._answer(self._request.__aenter__())

    async def __aexit__(self, *error: object) -> None:
        """Close the response."""
        await self._request.__aexit__(*error)

    async def _answer(self, answer: Awaitable[aiohttp.ClientResponse]) -> aiohttp.ClientResponse:
        response = await answer
        self._on_response(response)
        return response


async def _end(response: aiohttp.ClientResponse) -> None:
    """Read the remaining bytes of a complete answer, then close it."""
    try:
        with anyio.move_on_after(_LAST_BYTES_SECONDS), suppress(*CLIENT_ERRORS):
            while await response.content.readany():
                pass
    finally:
        response.close()
