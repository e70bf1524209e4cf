"""Decides which hosts and addresses may be fetched from (SSRF protection).

Only public addresses are allowed, only hosts that the operator allows, and never the gateway itself. An IPv6 address
that wraps an IPv4 address (6to4, Teredo, NAT64, …) is public only if the wrapped one is: `::ffff:10.0.0.1` is refused.
"""

import ipaddress
from collections.abc import Iterable

import msgspec

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_PLATFORM = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.88.99.0/24"))
"""Globally routable, but refused: Azure's host endpoint and the 6to4 relays."""
_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa")


def is_public(text: str) -> bool:
    """Return whether an address, and any IPv4 address wrapped in it, is on the public internet."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        inner = _inside(address)
        if inner is not None:
            return all(_is_plain_public(each) for each in inner)
    return _is_plain_public(address)


def _inside(address: ipaddress.IPv6Address) -> tuple[Address, ...] | None:
    """Return the IPv4 addresses wrapped in an IPv6 address; None if it wraps none."""
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _NAT64_LOCAL:  # the network chooses the prefix length, and with it the position of the address
        middle = int(address) >> 40 & 0xFFFFFFFFFF
        return (low, ipaddress.IPv4Address((middle >> 8 & 0xFFFF0000) | (middle & 0xFFFF)))
    return (low,) if address in _NAT64 or address in _COMPATIBLE else None


def _is_plain_public(address: Address) -> bool:
    site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    special = address.is_multicast or address.is_reserved or site_local
    return address.is_global and not special and not any(address in network for network in _PLATFORM)


class FetchPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Allowed and refused hosts and networks."""

    hosts: tuple[str, ...] = ()
    """Host names, or `*.domain` for all subdomains; empty: any host."""
    refused_names: tuple[str, ...] = ()
    refused_networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, hosts: Iterable[str], refused: Iterable[str]) -> "FetchPolicy":
        """Build a policy; `refused` mixes names and networks.

        Raises:
            ValueError: an entry has a slash and is not a valid network.

        """
        names: list[str] = []
        networks: list[Network] = []
        for text in refused:
            try:
                networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                if "/" in text:
                    raise ValueError(f"{text!r} is not a valid network") from None
                names.append(_plain(text))
        return cls(
            hosts=tuple(map(_plain, hosts)),
            refused_names=tuple(names),
            refused_networks=tuple(networks),
        )

    def allows_host(self, host: str) -> bool:
        """Return whether a URL may name this host, given in lower case and without a final dot."""
        if _fits(host, self.refused_names) or _fits(host, tuple(f"*.{name}" for name in _LOCAL_NAMES)):
            return False
        return not self.hosts or _fits(host, self.hosts)

    def allows_address(self, address: str) -> bool:
        """Return whether a connection to this address is allowed."""
        if not is_public(address):
            return False
        parsed = ipaddress.ip_address(address)
        inner = _inside(parsed) if isinstance(parsed, ipaddress.IPv6Address) else None
        return not any(each in network for each in (parsed, *(inner or ())) for network in self.refused_networks)


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(".")


def _fits(host: str, patterns: tuple[str, ...]) -> bool:
    return any(host.endswith(p[1:]) if p.startswith("*.") else host == p for p in patterns)
