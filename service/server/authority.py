"""Checks the host and port that a request, a proxy or the settings name.

Links begin with them, so only what can stand there is valid: a DNS name, an IPv4 address, or an IPv6 address in
brackets, each with or without a port (RFC 9110, 7.2; RFC 3986, 3.2.2).
"""

import ipaddress
import re

import msgspec

_AUTHORITY = re.compile(
    r"(?P<host>(?=[._~-]*[A-Za-z0-9])[A-Za-z0-9._~-]{1,255}|\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\])"
    r"(?::(?P<port>[0-9]{0,5}))?",
    re.ASCII,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LAST_PORT = 65535


class Authority(msgspec.Struct, frozen=True):
    """A valid host with its port."""

    host: str
    """A name or an address, IPv6 in brackets."""
    port: int | None = None
    """None: the default port of the scheme."""

    def url(self, scheme: str) -> str:
        """Return the URL of this host, without the scheme's default port: `https://gateway.example`."""
        port = "" if self.port in {None, _DEFAULT_PORTS.get(scheme)} else f":{self.port}"
        return f"{scheme}://{self.host}{port}"


def parse_authority(text: str) -> Authority | None:
    """Return the host and port of a `Host` header; None if it is invalid.

    An empty port is the default port. Characters that RFC 3986 allows but that no DNS name has, such as `%`, `'` and
    `(`, are invalid.
    """
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    if found["ipv6"] is not None:
        try:
            ipaddress.IPv6Address(found["ipv6"])
        except ValueError:
            return None
    if not found["port"]:
        return Authority(found["host"])
    port = parse_port(found["port"])
    return Authority(found["host"], port) if port is not None else None


def parse_port(text: str) -> int | None:
    """Return a port, from 1 to 65535; None if it is invalid."""
    port = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(_LAST_PORT)) else 0
    return port if 0 < port <= _LAST_PORT else None
