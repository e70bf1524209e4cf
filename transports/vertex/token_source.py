"""Fetches and renews the access tokens of one account, by google-auth.

google-auth blocks, so it runs in a worker thread; its HTTP requests come back to this thread and use the account's own
client, with its proxy and certificates. Requests to the metadata server of a cloud machine use no proxy.

`keep_fresh` renews a token minutes before it expires. A request waits for a token only if there is none that is valid;
requests that wait share one attempt and its outcome. Tokens are never logged.
"""

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import anyio
import anyio.from_thread
import anyio.to_thread
import google.auth
from google.auth.credentials import Credentials, TokenState
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError
from google.auth.transport import Request, Response
from google.oauth2 import service_account

from protocol.model import GatewayError
from transports.http import CLIENT_ERRORS, Timeouts
from transports.vertex.errors import CredentialReason, credential_refused, error_for_refresh, token_unavailable
from transports.vertex.service_accounts import key_of

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_METADATA_HOSTS = frozenset({"metadata.google.internal", "metadata", "169.254.169.254"})


class _Answered(Response):
    """A response, as google-auth reads it."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self._status, self._headers, self._data = status, headers, data

    @property
    def status(self) -> int:
        return self._status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    @property
    def data(self) -> bytes:
        return self._data


class ThreadRequest(Request):
    """Sends google-auth's requests from a worker thread of anyio through clients of the event loop."""

    def __init__(self, http: aiohttp.ClientSession, direct: aiohttp.ClientSession, seconds: float) -> None:
        """Use `direct` for the metadata server, and `http` for other addresses."""
        self._http, self._direct, self._seconds = http, direct, seconds

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Response:
        """Send a request; see `google.auth.transport.Request`."""
        seconds = min(timeout or self._seconds, self._seconds)
        try:
            return anyio.from_thread.run(self._send, url, method, body, headers, seconds)
        except CLIENT_ERRORS as error:
            raise TransportError(type(error).__name__) from None

    async def _send(
        self, url: str, method: str, body: bytes | None, headers: Mapping[str, str] | None, seconds: float
    ) -> Response:
        http = self._direct if urlsplit(url).hostname in _METADATA_HOSTS else self._http
        with anyio.fail_after(seconds):
            async with http.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
                return _Answered(response.status, response.headers, await response.read())


class TokenSource:
    """The access token of one account."""

    def __init__(
        self, credential: str, http: aiohttp.ClientSession, direct: aiohttp.ClientSession, timeouts: Timeouts
    ) -> None:
        """Fetch tokens for a credential in its normal form; nothing is fetched before the first use."""
        self._credential, self._request = credential, ThreadRequest(http, direct, timeouts.call)
        self._credentials: Any = None
        """google-auth's, which are barely typed."""
        self._lock = anyio.Lock()
        self._attempts = 0
        self._failure: Exception | None = None

    async def authorize(self) -> Mapping[str, str]:
        """Return the headers that name the account; see `transports.generate_content.api_client.Authorize`."""
        if self._state is TokenState.INVALID:
            await self._renew(TokenState.INVALID)
        headers = {"Authorization": f"Bearer {self._credentials.token}"}
        if self._credentials.quota_project_id:
            headers["x-goog-user-project"] = self._credentials.quota_project_id
        return headers

    async def keep_fresh(self) -> None:
        """Renew the token if it is about to expire.

        Raises:
            GatewayError: no token was issued; one that is still valid is used on.

        """
        if self._state is not TokenState.FRESH:
            await self._renew(TokenState.STALE)

    def forget(self, headers: Mapping[str, str]) -> bool:
        """Fetch another token for the next request, because Vertex AI refused that of these headers."""
        if self._credentials is not None and headers.get("Authorization") == f"Bearer {self._credentials.token}":
            self._credentials.token = None
        return True

    @property
    def _state(self) -> TokenState:
        return TokenState.INVALID if self._credentials is None else self._credentials.token_state

    async def _renew(self, worst: TokenState) -> None:
        """Fetch a token unless another task has just tried; both have the same outcome."""
        attempts = self._attempts
        async with self._lock:
            if attempts == self._attempts:
                try:
                    await anyio.to_thread.run_sync(self._fetch)
                    self._failure = None
                except (GoogleAuthError, ValueError) as error:
                    self._failure = error
                self._attempts += 1
        if self._failure is not None and (worst is TokenState.STALE or self._state is TokenState.INVALID):
            raise _error_for(self._failure) from None

    def _fetch(self) -> None:
        """Load the credentials and fetch a token, in a worker thread."""
        if self._credentials is None:
            self._credentials = load_credentials(self._credential, self._request)
        self._credentials.refresh(self._request)


def load_credentials(credential: str, request: Request) -> Credentials:
    """Return google-auth's object for a credential in its normal form; may look for the machine's own.

    Raises:
        DefaultCredentialsError: the machine has none.

    """
    key = key_of(credential)
    if key is None:
        return cast("Any", google.auth).default(scopes=_SCOPES, request=request)[0]
    info = {name: value for name in key.__struct_fields__ if (value := getattr(key, name))}
    return cast("Any", service_account.Credentials).from_service_account_info(info, scopes=_SCOPES)


def _error_for(error: Exception) -> GatewayError:
    match error:
        case DefaultCredentialsError():
            return credential_refused(CredentialReason.MISSING)
        case RefreshError():
            return error_for_refresh(str(error), retryable=bool(cast("Any", error).retryable))
        case TransportError():
            return token_unavailable()
        case _:
            return credential_refused(CredentialReason.REFUSED)
