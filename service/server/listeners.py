"""Lists the gateway's listeners: the API, and optionally probes with metrics and the admin API."""

import socket
from collections.abc import Iterable, Mapping

from service.config.schema import Settings

API, OPERATIONS, ADMIN = "api", "operations", "admin"
"""Which app answers at a socket: names of `service.app.Running.apps`."""

_TOLD = {API: "Listening on", OPERATIONS: "Probes and metrics on", ADMIN: "Admin API on"}

Sockets = Mapping[str, socket.socket]
"""Listening sockets by the names of their apps."""


def addresses(settings: Settings, host: str | None = None, port: int | None = None) -> dict[str, tuple[str, int]]:
    """Return where each app is to answer; `host` and `port` go before what the settings say of the callers'."""
    server = settings.server
    found: dict[str, tuple[str, int]] = {}
    if settings.operations.port:
        found[OPERATIONS] = (settings.operations.host, settings.operations.port)
    if settings.admin.tokens:
        found[ADMIN] = (settings.admin.host, settings.admin.port)
    found[API] = (host or server.host, server.port if port is None else port)  # last, so that it is announced last
    return found


def announcement(name: str, url: str) -> str:
    """Return the line that announces a socket."""
    return f"{_TOLD[name]} {url}"


def fd_arguments(listening: Sockets) -> list[str]:
    """Return the sockets as arguments of a process that inherits them."""
    return [word for name, one in listening.items() for word in ("--fd", f"{name}={one.fileno()}")]


def inherited_sockets(words: Iterable[str]) -> dict[str, socket.socket]:
    """Return the sockets that `handed_on` has named, in the process that has inherited them."""
    pairs = (word.partition("=") for word in words)
    return {name: socket.socket(fileno=int(number)) for name, _, number in pairs}
