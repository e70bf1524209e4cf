"""Connects through HTTP proxies, and names what is wrong with a proxy that does not connect.

CONNECT is RFC 9110, 9.3.6; a login that is refused is 407, 15.5.8.
"""

import os
import socket
import ssl
from typing import Any

import aiohttp

LOGIN_REFUSED = "The proxy refused the user name or the password."
NOT_ANSWERED = "The proxy did not connect in time."

BROKEN = "The proxy broke the connection."

_PROBLEMS = (
    ((aiohttp.ClientConnectorDNSError, socket.gaierror), "The proxy's host name was not found (DNS)."),
    ((aiohttp.ClientSSLError, ssl.SSLError), "The TLS connection through the proxy failed."),
    (TimeoutError, NOT_ANSWERED),
    ((aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError), BROKEN),
)
"""What the errors of a connection say about the proxy."""


class ProxyFailed(aiohttp.ClientError):
    """A proxy did not connect to the upstream; `problem` tells the operator why, and contains no secret."""

    def __init__(self, problem: str) -> None:
        """Set the problem."""
        super().__init__(problem)
        self.problem = problem


class HttpProxyConnector(aiohttp.TCPConnector):
    """Connects through the HTTP proxy of each request."""

    async def connect(self, req: aiohttp.ClientRequest, *arguments: Any, **options: Any) -> Any:
        """Get a connection from the pool or a new one.

        Raises:
            ProxyFailed: the proxy is down, refuses, or cannot connect to the host.

        """
        try:
            return await super().connect(req, *arguments, **options)
        except (aiohttp.ClientError, OSError) as error:
            raise ProxyFailed(problem_of(error)) from None


def problem_of(error: aiohttp.ClientError | OSError) -> str:
    """Return what an error says about a proxy, without the request's headers and the proxy's credentials."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        refusal = f"The proxy refused to connect to the upstream (HTTP {error.status})."
        return LOGIN_REFUSED if error.status == 407 else refusal
    for kinds, problem in _PROBLEMS:
        if isinstance(error, kinds):
            return problem
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError):
        return (
            f"The proxy does not accept connections ({os.strerror(cause.errno) if cause.errno else 'no reason given'})."
        )
    return "The proxy's answer is not valid HTTP."
