"""Calls the API with one key.

The key is sent in a header, never in an address. aiohttp's errors contain the headers, so they are never chained.

Source: "Base", "Errors".
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import anyio

from protocol.model import GatewayError, RateLimited, UpstreamFailed
from transports.api.config import ApiConfig
from transports.clock import Clock
from transports.generate_content.errors import error_for_body
from transports.http import CLIENT_ERRORS, login_refused, mapped, retry_after

VERSION = "v1beta"
_KEY_HEADER = "x-goog-api-key"
_LONGEST_ERROR = 64 * 1024
_LONGEST_ANSWER = 256 * 1024 * 1024
"""Of an answer in one piece: pictures come in base64."""


class ApiClient:
    """Calls of one key; the HTTP client belongs to its account."""

    def __init__(self, config: ApiConfig, http: aiohttp.ClientSession, key: str, clock: Clock) -> None:
        """Send requests through `http` with a key."""
        self._http, self._clock = http, clock
        self._timeouts = config.timeouts
        self._base = f"{config.base_url}/{VERSION}/"
        self._headers = {_KEY_HEADER: key, "Content-Type": "application/json"}

    @asynccontextmanager
    async def post(self, path: str, body: bytes) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send a request below the version and yield the response, which has the status 200.

        Raises:
            GatewayError: the API refused the request, or could not be reached.

        """
        response: aiohttp.ClientResponse | None = None
        try:
            try:
                with anyio.fail_after(self._timeouts.first_frame):
                    response = await self._http.post(
                        f"{self._base}{path}", data=body, headers=self._headers, allow_redirects=False
                    )
                    if response.status != 200:
                        raise await self._refusal(response)
            except CLIENT_ERRORS as error:
                raise mapped(error) from None
            yield response
        finally:
            if response is not None:
                response.close()

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

    async def whole(self, response: aiohttp.ClientResponse) -> bytes:
        """Return the whole body of a response.

        Raises:
            UpstreamFailed: as `pieces`, or it is too long.

        """
        body = bytearray()
        async for piece in self.pieces(response):
            body += piece
            if len(body) > _LONGEST_ANSWER:
                raise UpstreamFailed("The upstream's answer is too long.")
        return bytes(body)

    async def get(self, path: str) -> bytes:
        """Make a short call and return its body.

        Raises:
            GatewayError: as `post`.

        """
        try:
            with anyio.fail_after(self._timeouts.call):
                async with self._http.get(
                    f"{self._base}{path}", headers=self._headers, allow_redirects=False
                ) as response:
                    if response.status != 200:
                        raise await self._refusal(response)
                    return await self.whole(response)
        except CLIENT_ERRORS as error:
            raise mapped(error) from None

    async def reach(self) -> None:
        """Connect to the API, without the key; see `transports.account.Account.reach`."""
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
        body = await response.content.read(_LONGEST_ERROR)
        error = error_for_body(response.status, body, now=self._clock.wall())
        if isinstance(error, RateLimited) and error.retry_after is None:
            error.retry_after = retry_after(response.headers)
        return error
