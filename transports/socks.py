"""Connects through SOCKS proxies. Imported when the first account with such a proxy is connected."""

from typing import Any

import aiohttp
import aiohttp_socks
from aiohttp_socks import ProxyType

from transports.proxy import BROKEN, LOGIN_REFUSED, NOT_ANSWERED, ProxyFailed, problem_of

_TYPES = {"socks4": ProxyType.SOCKS4, "socks5": ProxyType.SOCKS5, "socks5h": ProxyType.SOCKS5}

_NOT_SOCKS = "The proxy's answer is not valid SOCKS."
_SOCKS4_LOGIN = (0x5C, 0x5D)
"""Replies of a SOCKS4 proxy that could not confirm the user."""


class SocksConnector(aiohttp_socks.ProxyConnector):
    """Connects through a SOCKS proxy."""

    def __init__(self, scheme: str, host: str, port: int, **options: Any) -> None:
        """Use the proxy at `host` and `port`; with the scheme `socks5h` it resolves host names."""
        super().__init__(host=host, port=port, proxy_type=_TYPES[scheme], rdns=scheme == "socks5h", **options)

    async def connect(self, req: aiohttp.ClientRequest, *arguments: Any, **options: Any) -> Any:
        """Get a connection from the pool or a new one.

        Raises:
            ProxyFailed: the proxy is down, refuses, or cannot connect to the host.

        """
        try:
            return await super().connect(req, *arguments, **options)
        except aiohttp_socks.ProxyError as error:
            raise ProxyFailed(_refusal(error)) from None
        except aiohttp_socks.ProxyTimeoutError:
            raise ProxyFailed(NOT_ANSWERED) from None
        except aiohttp_socks.ProxyConnectionError as error:
            own = error.__cause__.__cause__ if error.__cause__ is not None else None  # the system's
            raise ProxyFailed(problem_of(own if isinstance(own, OSError) else OSError())) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ProxyFailed(problem_of(error)) from None
        except EOFError:
            raise ProxyFailed(BROKEN) from None
        except ValueError:  # the library decodes names and addresses of an answer without checking them
            raise ProxyFailed(_NOT_SOCKS) from None


def _refusal(error: aiohttp_socks.ProxyError) -> str:
    """Return what a SOCKS reply says (RFC 1928, 3 and 6; RFC 1929, 2)."""
    text = str(error)
    if error.error_code in _SOCKS4_LOGIN or "authentication" in text.lower():
        return LOGIN_REFUSED
    if error.error_code is not None:
        return f"The proxy refused to connect to the upstream ({text})."
    return _NOT_SOCKS
