"""Lists the gateway's listeners: the API, and optionally probes with metrics and the admin API; and their URLs."""

import socket
from collections.abc import Iterable, Mapping

from service.config.schema import Settings

API, OPERATIONS, ADMIN = "api", "operations", "admin"
"""Names of the listeners, and of their apps in `service.app.Running.apps`."""

SECTIONS = {API: "server", OPERATIONS: "operations", ADMIN: "admin"}
"""Section of the settings that has the address of each listener."""

_LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- where a client can reach a wildcard address
_ANNOUNCEMENTS = {API: "Listening on", OPERATIONS: "Probes and metrics on", ADMIN: "Admin API on"}

Sockets = Mapping[str, socket.socket]
"""Listening sockets by listener name."""


def addresses(settings: Settings, host: str | None = None, port: int | None = None) -> dict[str, tuple[str, int]]:
    """Return the address of each listener; `host` and `port` override the settings of the API listener."""
    server = settings.server
    found: dict[str, tuple[str, int]] = {}
    if settings.operations.port:
        found[OPERATIONS] = (settings.operations.host, settings.operations.port)
    if settings.admin.tokens:
        found[ADMIN] = (settings.admin.host, settings.admin.port)
    found[API] = (host or server.host, server.port if port is None else port)  # last, so that it is announced last
    return {name: (without_brackets(host), port) for name, (host, port) in found.items()}


def without_brackets(host: str) -> str:
    """Return an IPv6 address without the brackets that URLs put around it; other hosts are returned as they are."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def reachable_host(host: str) -> str:
    """Return the address at which a client on this machine reaches a listener on `host`."""
    host = without_brackets(host)
    return _LOOPBACKS.get(host, host)


def local_url(host: str, port: int, scheme: str = "http") -> str:
    """Return the URL at which a client on this machine reaches a listener."""
    host = reachable_host(host)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def announcement(name: str, url: str) -> str:
    """Return the line that announces a listener."""
    return f"{_ANNOUNCEMENTS[name]} {url}"


def fd_arguments(listening: Sockets) -> list[str]:
    """Return command-line arguments that pass the sockets to a worker process."""
    return [argument for name, one in listening.items() for argument in ("--fd", f"{name}={one.fileno()}")]


def inherited_sockets(arguments: Iterable[str]) -> dict[str, socket.socket]:
    """Return the inherited sockets that the arguments of `fd_arguments` name."""
    pairs = (argument.partition("=") for argument in arguments)
    return {name: socket.socket(fileno=int(number)) for name, _, number in pairs}
