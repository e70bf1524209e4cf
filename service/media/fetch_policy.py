"""Which hosts may be fetched from: public ones, of those the operator allows, and never this gateway's own."""

import ipaddress
from collections.abc import Iterable

import msgspec

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_PLATFORM = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.88.99.0/24"))
"""Public by their numbers, but a cloud's own host seen from inside it, and relays that lead anywhere."""
_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa")


def is_public(text: str) -> bool:
    """Say whether an address is on the public internet, and so is any IPv4 address that is wrapped in it."""
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
    """Return the IPv4 addresses that this one stands for; None where it stands for itself."""
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _NAT64_LOCAL:  # the prefix's length, and so the place of the address, is the network's own choice
        middle = int(address) >> 40 & 0xFFFFFFFFFF
        return (low, ipaddress.IPv4Address((middle >> 8 & 0xFFFF0000) | (middle & 0xFFFF)))
    return (low,) if address in _NAT64 or address in _COMPATIBLE else None


def _is_plain_public(address: Address) -> bool:
    site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    special = address.is_multicast or address.is_reserved or site_local
    return address.is_global and not special and not any(address in network for network in _PLATFORM)


class FetchPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How far fetching goes."""

    hosts: tuple[str, ...] = ()
    """Names, or `*.domain` for all below one; empty: any."""
    refused_names: tuple[str, ...] = ()
    refused_networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, hosts: Iterable[str], refused: Iterable[str]) -> "FetchPolicy":
        """Sort what is refused into names and networks.

        Raises:
            ValueError: something has a slash and is no network.

        """
        names: list[str] = []
        networks: list[Network] = []
        for text in refused:
            try:
                networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                if "/" in text:
                    raise ValueError(f"{text!r} is no network") from None
                names.append(_plain(text))
        return cls(
            hosts=tuple(map(_plain, hosts)),
            refused_names=tuple(names),
            refused_networks=tuple(networks),
        )

    def allows_host(self, host: str) -> bool:
        """Say whether a host may be asked for by this name, in lower case and without a final dot."""
        if _fits(host, self.refused_names) or _fits(host, tuple(f"*.{name}" for name in _LOCAL_NAMES)):
            return False
        return not self.hosts or _fits(host, self.hosts)

    def allows_address(self, address: str) -> bool:
        """Say whether an address may be connected to."""
        if not is_public(address):
            return False
        parsed = ipaddress.ip_address(address)
        inner = _inside(parsed) if isinstance(parsed, ipaddress.IPv6Address) else None
        return not any(each in network for each in (parsed, *(inner or ())) for network in self.refused_networks)


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(".")


def _fits(host: str, patterns: tuple[str, ...]) -> bool:
    return any(host.endswith(p[1:]) if p.startswith("*.") else host == p for p in patterns)
