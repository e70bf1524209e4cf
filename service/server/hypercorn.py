"""Runs apps on hypercorn, on sockets that are already open.

Only this module and `service.server.connection` import hypercorn.
"""

import importlib.util
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import structlog
from hypercorn.asyncio import serve as hypercorn_serve  # pyright: ignore[reportUnknownVariableType]

from service.config.schema import ServerSettings
from service.server.connection import ServerConfig, install
from service.server.errors import ErrorBody, error_body
from service.server.listeners import local_url
from service.server.request_head import HeadLimits

_STOP_SECONDS = 5.0
"""How long hypercorn may take to close idle connections."""

_HANDSHAKE_SECONDS = 10.0
_HEAD_LIMITS = HeadLimits()

_READ_AHEAD = 4
"""Pieces of a body, each up to 64 KiB, that are read before the app asks for them."""

_BARE = ServerSettings(keep_alive_seconds=240.0)
"""Of servers that stand in for an upstream: like one, they keep idle connections longer than clients do."""

_log = structlog.get_logger()


class TlsFiles:
    """A certificate and its key, in files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Use these files."""
        self.certificate, self.key = certificate, key


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """Return a listening socket; clients can connect from now on. On `::`, IPv4 is served too.

    Raises:
        OSError: the address cannot be listened on.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=family, backlog=backlog, dualstack_ipv6=both)


def url_of(listening: socket.socket, scheme: str = "http") -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return local_url(host, port, scheme)


@asynccontextmanager
async def serving(  # noqa: PLR0913 -- one per concern of a server
    app: Any,
    listening: socket.socket,
    server: ServerSettings,
    tls: TlsFiles | None = None,
    limits: HeadLimits = _HEAD_LIMITS,
    *,
    error_body: ErrorBody = error_body,
) -> AsyncGenerator[None]:
    """Serve an app on a listening socket until the context exits; the socket is closed then.

    `error_body` writes the errors of requests that the server refuses before the app sees them.
    """
    stop, stopped = anyio.Event(), anyio.Event()
    install()
    config = ServerConfig()
    config.bind = [f"fd://{listening.detach()}"]
    config.backlog = server.backlog
    config.keep_alive_timeout = server.keep_alive_seconds
    config.keep_alive_max_requests = 10_000
    config.graceful_timeout = _STOP_SECONDS - 1  # ends before `serving` cancels the server
    config.max_app_queue_size = _READ_AHEAD
    config.head_limits = limits
    config.error_body = error_body
    config.h11_max_incomplete_size = limits.header_bytes
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    config.alpn_protocols = ["http/1.1"]
    config.ssl_handshake_timeout = _HANDSHAKE_SECONDS
    if tls is not None:
        config.certfile, config.keyfile = str(tls.certificate), str(tls.key)

    async def run() -> None:
        await hypercorn_serve(app, config, shutdown_trigger=stop.wait, mode="asgi")
        stopped.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            yield
        finally:
            stop.set()
            with anyio.move_on_after(_STOP_SECONDS, shield=True):
                await stopped.wait()
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def serve_loopback(app: Any, port: int = 0) -> AsyncGenerator[str]:
    """Serve an app on a loopback port, a free one by default, until the context exits; yield its URL.

    Raises:
        OSError: the port is in use.

    """
    listening = listen("127.0.0.1", port, 2048)
    url = url_of(listening)
    async with serving(app, listening, _BARE):
        yield url


def run_app(app: Any, listening: socket.socket, *, tls: TlsFiles | None, started: Callable[[], None]) -> None:
    """Run a bare app until a signal."""

    async def main() -> None:
        async with serving(app, listening, _BARE, tls):
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                started()
                await anext(signals)

    run_loop(main, "auto")


def run_loop(main: Callable[[], Any], loop: str) -> None:
    """Run a coroutine function on an event loop: `asyncio`, `uvloop`, or `auto` (uvloop if it is installed).

    Raises:
        Exception: what `main` raised, without the exception groups of task groups around it.

    """
    use_uvloop = loop == "uvloop" or (loop == "auto" and importlib.util.find_spec("uvloop") is not None)
    try:
        anyio.run(main, backend_options={"use_uvloop": use_uvloop})
    except BaseExceptionGroup as group:
        raise _unwrap(group) from None


def _unwrap(error: BaseException) -> BaseException:
    """Return the error that exception groups of one member contain."""
    if isinstance(error, BaseExceptionGroup):
        members = cast("BaseExceptionGroup[BaseException]", error).exceptions
        if len(members) == 1:
            return _unwrap(members[0])
    return cast("BaseException", error)
