"""Calls the API with one account.

Its key or token is sent in a header, never in an address. aiohttp's errors contain the headers, so they are never
chained.

Source: "Base", "Errors".
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from io import BytesIO
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urlencode

import aiohttp
import anyio
import msgspec

from protocol.model import DriftDetected, GatewayError, Overloaded, RateLimited, StoredFile, UpstreamFailed
from transports.clock import Clock
from transports.generate_content.errors import error_for, error_for_body, error_in
from transports.generate_content.wire import RpcStatus
from transports.http import CLIENT_ERRORS, Timeouts, login_refused, mapped, retry_after
from transports.timed_bytes import TimedBytes

Authorize = Callable[[], Awaitable[Mapping[str, str]]]
"""Returns the headers that name an account; raises GatewayError if it has none now."""
_JSON = {"Content-Type": "application/json"}
_REFUSAL_SECONDS = 5.0
"""How long to wait for the body of an error."""
_MOST_PAGES = 20
_LONGEST_ERROR = 64 * 1024
_LONGEST_ANSWER = 256 * 1024 * 1024
"""Of an answer in one piece: pictures come in base64."""


class ListPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of a list; subclasses have its entries."""

    next_page_token: str = ""


PageT = TypeVar("PageT", bound=ListPage)


class ApiAccess(msgspec.Struct, frozen=True):
    """Where and how an account asks the API."""

    base: str
    """The address that paths are added to; it ends in a slash."""
    authorize: Authorize
    meant: Callable[[GatewayError], GatewayError] = lambda error: error
    """Returns what a refusal of the API means here."""
    forget: Callable[[Mapping[str, str]], bool] = lambda _: False
    """Takes headers that the API answered 401; returns whether there are others."""


class ApiClient:
    """Calls of one account; the HTTP client belongs to it."""

    def __init__(self, http: aiohttp.ClientSession, access: ApiAccess, timeouts: Timeouts, clock: Clock) -> None:
        """Send requests through `http`."""
        self._http, self._base = http, access.base
        self._authorize, self._forget, self._meant = access.authorize, access.forget, access.meant
        self._timeouts, self._clock = timeouts, clock
        self._patient = aiohttp.ClientTimeout(
            total=None, connect=timeouts.connect, sock_connect=timeouts.socket_connect
        )

    def post(
        self, path: str, body: bytes, *, patient: bool = False
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send a request below the base and yield the response, which has the status 200.

        `patient`: wait for as long as the request may take, since nothing comes before the answer is complete.

        Raises:
            GatewayError: the API refused the request, or could not be reached.

        """
        return self._opened("POST", path, body, patient=patient)

    def download(self, path: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Open a file below the base, which may be long; as `post`."""
        return self._opened("GET", path, None)

    @asynccontextmanager
    async def _opened(
        self, method: str, path: str, body: bytes | None, *, patient: bool = False
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        response: aiohttp.ClientResponse | None = None
        try:
            try:
                async with asyncio.timeout(None if patient else self._timeouts.first_frame):
                    limits = self._patient if patient else self._http.timeout
                    response = await self._request(method, f"{self._base}{path}", _JSON, body, limits)
                    if response.status != 200:
                        raise await self._refusal(response)
            except CLIENT_ERRORS as error:
                raise mapped(error) from None
            yield response
        finally:
            if response is not None:
                response.close()

    async def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | BytesIO | StoredFile | None,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """Send a request; once more, with another token, if its own is no longer valid."""

        async def send(access: Mapping[str, str]) -> aiohttp.ClientResponse:
            sent = {**headers, **access}
            return await self._http.request(method, url, data=data, headers=sent, allow_redirects=False, timeout=limits)

        access = await self._authorize()
        response = await send(access)
        if response.status == 401 and self._forget(access):
            response.close()
            response = await send(await self._authorize())
        return response

    def first_deadline(self) -> float:
        """Return when a request that is sent now must have the first chunk of its answer, by the event loop's clock."""
        return asyncio.get_running_loop().time() + self._timeouts.first_frame

    def timed(self, response: aiohttp.ClientResponse, until: float) -> TimedBytes:
        """Return the reader of a streamed answer, whose first chunk must come before `until`."""
        return TimedBytes(response.content, until, self._timeouts.between_frames)

    async def pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Yield the body of a response as it arrives.

        Raises:
            UpstreamFailed: the connection broke, or the API stopped sending.

        """
        try:
            async for piece in response.content.iter_any():
                yield piece
        except CLIENT_ERRORS as error:
            raise mapped(error, started=True) from None

    async def next_piece(self, response: aiohttp.ClientResponse, seconds: float) -> bytes | None:
        """Return the next bytes of a body; None: none came within some seconds; empty: it has ended.

        Raises:
            UpstreamFailed: as `pieces`.

        """
        try:
            with anyio.move_on_after(seconds):
                return await response.content.readany()
        except CLIENT_ERRORS as error:
            raise mapped(error, started=True) from None
        return None

    async def whole(self, response: aiohttp.ClientResponse) -> bytes:
        """Return the whole body of a response.

        Raises:
            UpstreamFailed: as `pieces`, or it is too long.

        """
        body, between = bytearray(), self._timeouts.between_frames
        chunks = TimedBytes(response.content, asyncio.get_running_loop().time() + between, between)
        try:
            while piece := await chunks.next():
                body += piece
                chunks.note(len(body))
                if len(body) > _LONGEST_ANSWER:
                    raise UpstreamFailed("The upstream's answer is too long.")
        except CLIENT_ERRORS as error:
            raise mapped(error, started=True) from None
        finally:
            chunks.close()
        return bytes(body)

    async def get(self, path: str) -> bytes:
        """Make a short call below the base and return its body.

        Raises:
            GatewayError: as `post`.

        """
        return (await self.send("GET", f"{self._base}{path}"))[1]

    async def pages(self, path: str, kind: type[PageT]) -> AsyncIterator[PageT]:
        """Yield the pages of a list below the base.

        Raises:
            GatewayError: as `post`.
            msgspec.MsgspecError: a page has an unknown form.

        """
        token = ""
        for _ in range(_MOST_PAGES):
            after = f"&{urlencode({'pageToken': token})}" if token else ""
            page = msgspec.json.decode(await self.get(f"{path}{after}"), type=kind, strict=False)
            yield page
            token = page.next_page_token
            if not token:
                return

    async def delete(self, path: str) -> None:
        """Delete something below the base.

        Raises:
            GatewayError: as `post`.

        """
        await self.send("DELETE", f"{self._base}{path}")

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        data: bytes | BytesIO | StoredFile | None = None,
        seconds: float | None = None,
    ) -> tuple[Mapping[str, str], bytes]:
        """Make a call of at most `seconds` (None: a short one), and return the headers and body of its answer.

        Raises:
            GatewayError: as `post`.

        """
        try:
            with anyio.fail_after(seconds or self._timeouts.call):
                async with await self._request(method, url, headers, data, self._http.timeout) as response:
                    if response.status != 200:
                        raise await self._refusal(response)
                    return response.headers, await self.whole(response)
        except CLIENT_ERRORS as error:
            raise mapped(error) from None

    async def reach(self) -> None:
        """Connect to the API, without a key or token; see `transports.account.Account.reach`."""
        try:
            with anyio.fail_after(self._timeouts.call):
                async with self._http.get(f"{self._base}models", allow_redirects=False) as response:
                    if response.status == 407:
                        raise login_refused()
        except CLIENT_ERRORS as error:
            raise mapped(error) from None

    async def _refusal(self, response: aiohttp.ClientResponse) -> GatewayError:
        """Return the error of a response with another status than 200."""
        if response.status == 407:
            return login_refused()
        body = bytearray()  # it only adds detail to the status, so it is not waited for long
        with anyio.move_on_after(_REFUSAL_SECONDS), suppress(*CLIENT_ERRORS):
            while len(body) < _LONGEST_ERROR and (piece := await response.content.readany()):
                body += piece
        error = error_for_body(response.status, body, now=self._clock.wall())
        if isinstance(error, RateLimited | Overloaded) and error.retry_after is None:
            error.retry_after = retry_after(response.headers)
        return self._meant(error)

    def meaning(self, error: RpcStatus) -> GatewayError:
        """Return the gateway's error for one that came after the answer had begun."""
        return self._meant(error_for(error.number, error, now=self._clock.wall()))

    def instead_of_events(self, body: bytes) -> GatewayError:
        """Return the error for a body that came in place of events, or between them."""
        error = error_in(body)
        return self.meaning(error) if error else DriftDetected("The upstream sent something else than events.")
