"""Works out the public base URL of a request, with which links in responses begin.

Behind a reverse proxy the request itself names an inner address. `Forwarded` (RFC 7239) and `X-Forwarded-Proto`,
`-Host`, `-Port` and `-Prefix` name the address that the client used. They count only if the connection comes from a
trusted proxy, and are checked as strictly as `Host`: the request is refused if one of them is invalid.

Each proxy may append an element, so a header can hold a list that a client began. The proxies that the request passed
are counted from its end: the last element is that of the connected proxy, and the one before counts if the `for` of
the last, or the last address in `X-Forwarded-For`, is a trusted proxy too. Example, with 10.0.0.0/8 trusted:

    Forwarded: for=6.6.6.6;host=evil, for=192.0.2.7;host=gateway.example, for=10.0.0.2;host=inner

The connected proxy was asked by 10.0.0.2, which was asked by 192.0.2.7, which is not trusted: `gateway.example` counts.
Without `X-Forwarded-For`, the number of proxies is unknown, and the first element of an `X-Forwarded-*` list counts.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from protocol.http.context import context_of
from protocol.http.errors import HttpError, Refuse
from service.config.schema import Origin, ServerSettings, SettingsError
from service.server.authority import Authority, parse_authority, parse_port

_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"|")+')
_PAIR = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*"|")+')
_FIELD = re.compile(r'([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?:([^\s"]*)|"((?:[^"\\]|\\.)*)")')
_ESCAPE = re.compile(r"\\(.)")
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*/?")
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_SSL = {"on": "https", "off": "http", "1": "https", "0": "http"}
"""The scheme by `X-Forwarded-Ssl`."""
_ADVICE = {
    "proto": "http or https",
    "host": "a name or an address, as gateway.example or [2001:db8::1]:8443",
    "port": "a number from 1 to 65535",
    "prefix": "a path, as /ai",
}

ValueT = TypeVar("ValueT")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ForwardedAddress(msgspec.Struct, frozen=True, kw_only=True):
    """What a trusted proxy says of the address that the client used; None: nothing."""

    scheme: str | None = None
    authority: Authority | None = None
    port: int | None = None
    prefix: str = ""
    """Path prefix that the proxies removed, such as `/ai`."""


class PublicAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Computes the public base URL from settings, `Forwarded` headers or the Host header."""

    public_url: str
    """Takes precedence; empty: derive the URL from the request."""
    prefix: str
    trusted: tuple[Network, ...] = ()
    """Proxies whose forwarding headers are trusted."""

    @classmethod
    def of(cls, server: ServerSettings, origin: Origin) -> "PublicAddress":
        """Build it from the settings.

        Raises:
            SettingsError: a trusted proxy is neither an address nor a network, or the public URL's host is invalid.

        """
        networks: list[Network] = []
        for number, text in enumerate(server.trusted_proxies):
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError:
                where = f"server.trusted_proxies[{number}]"
                raise SettingsError(
                    f"{origin.of(where)}: {where}: expected an address or a network as 10.0.0.0/8"
                ) from None
        host = server.public_url.partition("://")[2].partition("/")[0]
        if host and parse_authority(host) is None:
            where = f"{origin.of('server.public_url')}: server.public_url"
            raise SettingsError(f"{where}: {host!r} is not a host; write the URL as https://HOST or https://HOST/PATH")
        return cls(public_url=server.public_url, prefix=server.prefix, trusted=tuple(networks))

    def base(self, scope: Any) -> str:
        """Return the base URL of the API, such as `https://host/prefix`.

        Raises:
            HttpError: as `forwarded`.

        """
        if self.public_url:
            scheme, _, place = self.public_url.partition("://")
            host, slash, path = place.partition("/")
            return f"{scheme}://{host}{self._with_prefix((slash + path).rstrip('/'))}"
        forwarded = self.forwarded(scope)
        authority, port = forwarded.authority, forwarded.port
        if authority is not None:
            port = authority.port or port
        else:
            named = next((value for name, value in scope["headers"] if name == b"host"), b"")
            authority = parse_authority(named.decode("latin-1"))
        if authority is None:  # HTTP/1.0 without a Host: the address at which the request arrived
            host, bound = scope.get("server") or ("localhost", None)
            authority = Authority(f"[{host.partition('%')[0]}]" if ":" in host else host, bound)
        address = Authority(authority.host, port or authority.port)
        return address.url(forwarded.scheme or scope.get("scheme", "http")) + self._with_prefix(forwarded.prefix)

    def forwarded(self, scope: Any) -> ForwardedAddress:
        """Return what a trusted proxy says of the client's address; nothing if another peer sent the request.

        Raises:
            HttpError: 400 `invalid_value`: a trusted proxy has sent an invalid header.

        """
        client = scope.get("client")
        if not self.trusted or not client or not self._trusts(str(client[0])):
            return ForwardedAddress()
        headers = _Headers(scope["headers"])
        elements = headers.forwarded()
        chain = elements[-self._hops([element.get("for", "") for element in elements]) :]
        first = {name: value for element in reversed(chain) for name, value in element.items()}
        nodes = headers.elements("for")
        hops = self._hops(nodes) if nodes else None
        named = (headers.element(name, hops) for name in ("proto", "scheme", "protocol"))
        secure = headers.element("ssl", hops)
        proto = first.get("proto") or next(filter(None, named), "") or _SSL.get(secure.lower(), secure)
        host = first.get("host") or headers.element("host", hops)
        port = headers.element("port", hops)
        return ForwardedAddress(
            scheme=_checked("proto", proto, _SCHEMES.get(proto.lower())),
            authority=_checked("host", host, parse_authority(host)),
            port=_checked("port", port, parse_port(port)),
            prefix=_joined(headers.elements("prefix")[-(hops or 0) :]),
        )

    def _with_prefix(self, path: str) -> str:
        """Append the API's prefix, unless the path ends with it: the API's paths also work without it."""
        return path if path.endswith(self.prefix) else path + self.prefix

    def _hops(self, nodes: Sequence[str]) -> int:
        """Return how many proxies to believe, given the node that asked each: the connected one, and trusted ones."""
        count = 1
        for node in reversed(nodes):
            if not self._trusts(_address(node)):
                break
            count += 1
        return count

    def _trusts(self, address: str) -> bool:
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        inner = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None  # as a listener on [::] sees it
        return any((inner or peer) in network for network in self.trusted)


class _Headers:
    """The forwarding headers of a request, of one line or several."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._texts: dict[str, str] = {}
        for name, value in headers:
            if name == b"forwarded" or name.startswith(b"x-forwarded-"):
                key, text = name.decode("latin-1"), value.decode("latin-1")
                self._texts[key] = f"{self._texts[key]},{text}" if key in self._texts else text

    def forwarded(self) -> list[dict[str, str]]:
        """Return the parameters of each element of `Forwarded` (RFC 7239, 4)."""
        return [_fields(element) for element in _ELEMENT.findall(self._texts.get("forwarded", "")) if element.strip()]

    def elements(self, name: str) -> list[str]:
        """Return the elements of an `X-Forwarded-*` header."""
        return [text.strip() for text in self._texts.get(f"x-forwarded-{name}", "").split(",") if text.strip()]

    def element(self, name: str, hops: int | None) -> str:
        """Return the element of the outermost of `hops` proxies, or the first; empty: there is none."""
        return next(iter(self.elements(name)[-(hops or 0) :]), "")


def _fields(element: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for text in _PAIR.findall(element):
        found = _FIELD.fullmatch(text.strip())
        if found is None and not text.strip():
            continue
        if found is None or found[1].lower() in fields:
            message = "A trusted proxy sent an invalid Forwarded header: have it send as RFC 7239 says, or none."
            raise HttpError(400, "invalid_value", message)
        fields[found[1].lower()] = found[2] if found[3] is None else _ESCAPE.sub(r"\1", found[3])
    return fields


def _address(node: str) -> str:
    """Return the address of a node, such as `[2001:db8::1]:80` or `192.0.2.7:80`."""
    if node.startswith("["):
        return node[1:].partition("]")[0]
    return node.partition(":")[0] if node.count(":") == 1 else node


def _joined(prefixes: Sequence[str]) -> str:
    """Return the path before the request's own, of the prefixes that each proxy removed; repeated ones count once."""
    parts: list[str] = []
    for prefix in prefixes:
        part = _checked("prefix", prefix, prefix.rstrip("/") if _PREFIX.fullmatch(prefix) else None)
        if part and parts[-1:] != [part]:
            parts.append(part)
    return "".join(parts)


def _checked(name: str, sent: str, value: ValueT | None) -> ValueT | None:
    """Return what was understood of a header's value.

    Raises:
        HttpError: 400 `invalid_value`: it is invalid.

    """
    if sent and value is None:
        message = f"A trusted proxy sent an invalid X-Forwarded-{name.capitalize()} or Forwarded header"
        raise HttpError(400, "invalid_value", f"{message}: have it send {_ADVICE[name]}.")
    return value


class ForwardedValidation:
    """Middleware that refuses requests with invalid forwarding headers of a trusted proxy."""

    def __init__(self, app: Any, address: PublicAddress, refuse: Refuse) -> None:
        """Pass requests on to `app`; `refuse` writes the error of the others."""
        self._app, self._address, self._refuse = app, address, refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle the request."""
        if scope["type"] == "http" and self._address.trusted:
            try:
                self._address.forwarded(scope)
            except HttpError as error:
                context_of(scope).record.error = error.code
                await self._refuse(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
