"""Connects through SOCKS proxies. Imported when the first account with such a proxy is connected."""

from typing import Any

import aiohttp
import aiohttp_socks
from aiohttp_socks import ProxyType

_TYPES = {"socks4": ProxyType.SOCKS4, "socks5": ProxyType.SOCKS5, "socks5h": ProxyType.SOCKS5}
_ERRORS = (aiohttp_socks.ProxyError, aiohttp_socks.ProxyConnectionError, aiohttp_socks.ProxyTimeoutError)


class SocksConnector(aiohttp_socks.ProxyConnector):
    """Connects through a SOCKS proxy; errors are those that aiohttp raises for HTTP proxies."""

    def __init__(self, scheme: str, host: str, port: int, **options: Any) -> None:
        """Use the proxy at `host` and `port`; with the scheme `socks5h` it resolves host names."""
        super().__init__(host=host, port=port, proxy_type=_TYPES[scheme], rdns=scheme == "socks5h", **options)

    async def connect(self, req: aiohttp.ClientRequest, *arguments: Any, **options: Any) -> Any:
        """Get a connection from the pool or a new one.

        Raises:
            aiohttp.ClientProxyConnectionError: the proxy is down, or cannot connect to the host.

        """
        try:
            return await super().connect(req, *arguments, **options)
        except _ERRORS as error:
            raise aiohttp.ClientProxyConnectionError(req.connection_key, OSError(str(error))) from None
