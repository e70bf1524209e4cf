"""Works out the public base URL of a request, with which links in responses begin."""

import ipaddress
from typing import Any

import msgspec

from service.config.schema import Origin, ServerSettings, SettingsError


class PublicAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Computes the public base URL from settings, `Forwarded` headers or the Host header."""

    public_url: str
    """Takes precedence; empty: derive the URL from the request."""
    prefix: str
    trusted: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    """Proxies whose forwarding headers are trusted."""

    @classmethod
    def of(cls, server: ServerSettings, origin: Origin) -> "PublicAddress":
        """Build it from the settings.

        Raises:
            SettingsError: a trusted proxy is neither an address nor a network.

        """
        networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for number, text in enumerate(server.trusted_proxies):
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError:
                where = f"server.trusted_proxies[{number}]"
                raise SettingsError(f"{origin.name}: {where}: expected an address or a network as 10.0.0.0/8") from None
        return cls(public_url=server.public_url, prefix=server.prefix, trusted=tuple(networks))

    def base(self, scope: Any) -> str:
        """Return the base URL of the API, such as `https://host/prefix`."""
        if self.public_url:
            return self.public_url.rstrip("/") + self.prefix
        headers = dict(scope["headers"])
        scheme, host = scope.get("scheme", "http"), headers.get(b"host", b"").decode("latin-1")
        if self.trusted and self._trusts(scope.get("client")):
            scheme, host = _forwarded(headers, scheme, host)
        return f"{scheme}://{host}{self.prefix}"

    def _trusts(self, client: Any) -> bool:
        try:
            peer = ipaddress.ip_address(client[0])
        except (TypeError, IndexError, ValueError):
            return False
        return any(peer in network for network in self.trusted)


def _forwarded(headers: dict[bytes, bytes], scheme: str, host: str) -> tuple[str, str]:
    """Return the scheme and host that the proxy nearest to the client sent in `Forwarded` or `X-Forwarded-*`."""
    first = headers.get(b"forwarded", b"").decode("latin-1").partition(",")[0]
    pairs = (piece.partition("=") for piece in first.split(";"))
    fields = {name.strip().lower(): value.strip().strip('"') for name, equals, value in pairs if equals}
    for key, header in (("proto", b"x-forwarded-proto"), ("host", b"x-forwarded-host")):
        value = headers.get(header, b"").decode("latin-1").partition(",")[0].strip()
        if value and b"forwarded" not in headers:
            fields[key] = value
    proto = fields.get("proto", scheme)
    return (proto if proto in {"http", "https"} else scheme), fields.get("host") or host
