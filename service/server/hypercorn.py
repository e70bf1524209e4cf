"""Runs apps on hypercorn: sockets, signals and a shutdown that does not hang.

Only this module and `service.server.connection` import hypercorn.
"""

import signal
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.abc
import msgspec
import structlog
from hypercorn.asyncio import serve as hypercorn_serve  # pyright: ignore[reportUnknownVariableType]
from hypercorn.config import Config

from service.app import Running, open_app
from service.cli.startup_summary import StartupSummary
from service.config.schema import DrainSettings, Origin, ServerSettings, Settings
from service.server import connection
from service.server.garbage_collection import Collector
from service.server.listeners import Sockets
from service.server.memory import set_allocator
from transports.clock import SystemClock
from transports.tasks import background_tasks

_STOP_SECONDS = 5.0
"""How long hypercorn may take to close idle connections."""

_HEADER_BYTES = 32 * 1024
_REQUEST_LINE_BYTES = 1024
"""Allowance for the request line, so that the HTTP validation middleware rejects long headers, not the server."""

_READ_AHEAD = 4
"""Pieces of a body, each up to 64 KiB, that are read before the app asks for them."""

_log = structlog.get_logger()


class Supervisor:
    """The supervisor of this worker: it learns when the worker is ready, and the worker ends when it exits."""

    def __init__(
        self,
        started: Callable[[], None],
        parent: socket.socket | None = None,
        greet: Callable[[StartupSummary], None] | None = None,
    ) -> None:
        """Call `started`, and tell the process at the other end of `parent`, when it answers; `greet` goes before."""
        self._started, self._parent, self._greet = started, parent, greet

    async def show_summary(self, running: Running) -> None:
        """Show the startup summary."""
        if self._greet is not None:
            self._greet(await running.summarize())

    def started(self) -> None:
        """Report that requests are answered from now on."""
        self._started()
        if self._parent is not None:
            with suppress(OSError):  # it is gone: `gone` tells
                self._parent.send(b"1")

    async def wait_gone(self) -> None:
        """Wait until the parent process exits."""
        if self._parent is None:
            await anyio.sleep_forever()
        else:
            await anyio.wait_readable(self._parent)
            _log.error("supervisor_exited")


class Tls:
    """A certificate and its key, in files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Name the files."""
        self.certificate, self.key = certificate, key


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """Return a listening socket: clients may connect from now on.

    Raises:
        OSError: the address cannot be listened on.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=backlog)


def url_of(listening: socket.socket, scheme: str = "http") -> str:
    """Return the URL that a socket answers at."""
    address: tuple[str, int] = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])  # noqa: S104 -- where it can be reached
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{address[1]}"


def _config(listening: socket.socket, server: ServerSettings, tls: Tls | None, header_bytes: int) -> Config:
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.backlog = server.backlog
    config.keep_alive_timeout = server.keep_alive_seconds
    config.keep_alive_max_requests = 10_000
    config.graceful_timeout = _STOP_SECONDS - 1  # before our own patience ends: what is cancelled then says so
    config.max_app_queue_size = _READ_AHEAD
    config.h11_max_incomplete_size = header_bytes + _REQUEST_LINE_BYTES
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    config.alpn_protocols = ["http/1.1"]
    if tls is not None:
        config.certfile, config.keyfile = str(tls.certificate), str(tls.key)
    return config


@asynccontextmanager
async def serving(
    app: Any,
    listening: socket.socket,
    server: ServerSettings,
    tls: Tls | None = None,
    header_bytes: int = _HEADER_BYTES,
) -> AsyncGenerator[None]:
    """Serve an app on a listening socket, which it takes over, for as long as the context lasts."""
    stop, stopped = anyio.Event(), anyio.Event()
    connection.install()
    config = _config(listening, server, tls, header_bytes)

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
    """Serve an app on a loopback port, a free one by default, for as long as the context lasts; yield its URL.

    Raises:
        OSError: the port is in use.

    """
    listening = listen("127.0.0.1", port, 2048)
    url = url_of(listening)
    async with serving(app, listening, ServerSettings()):
        yield url


def run(
    settings: Settings,
    *,
    origin: Origin,
    store_path: Path,
    listening: Sockets,
    overseer: Supervisor,
) -> None:
    """Run one worker until a signal, or its overseer's end, and the drain after it; each socket has an app of its own.

    Raises:
        SettingsError: the settings do not fit together.

    """
    set_allocator()
    for one in listening.values():
        _abort_stalled(one, settings.limits.write_timeout_seconds)

    async def main() -> None:
        async with (
            open_app(settings, origin=origin, store_path=store_path, serve=serve_loopback) as running,
            _serving_all(running, listening, settings),
        ):
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                collector = Collector(lambda: running.shutdown.in_flight, SystemClock())
                collector.begin()
                async with background_tasks() as tasks:
                    tasks.start_soon(collector.run)
                    await tasks.start(_reload_on_sighup, running)
                    await overseer.show_summary(running)
                    overseer.started()
                    await _end(signals, overseer)
                    await _shut_down(running, settings.drain, signals)

    run_loop(main, settings.server.loop)


@asynccontextmanager
async def _serving_all(running: Running, listening: Sockets, settings: Settings) -> AsyncGenerator[None]:
    """Serve each app on its socket for as long as the context lasts."""
    async with AsyncExitStack() as stack:
        for name, one in listening.items():
            app, header_bytes = running.apps[name], settings.limits.header_bytes
            await stack.enter_async_context(serving(app, one, settings.server, header_bytes=header_bytes))
        yield


def _abort_stalled(listening: socket.socket, seconds: float) -> None:
    """Make the kernel abort connections whose client reads nothing for `seconds`; the server would wait forever."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(seconds * 1000)))


async def _reload_on_sighup(running: Running, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    """Reload on SIGHUP; ignore SIGHUP after that, so that it cannot end a process that is shutting down."""
    try:
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                await running.reload.reload()
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def _end(signals: Any, overseer: Supervisor) -> None:
    """Return at the first signal, or when the supervisor exits."""
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            await overseer.wait_gone()
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        await anext(signals)
        tasks.cancel_scope.cancel()


async def _shut_down(running: Running, terms: DrainSettings, signals: Any) -> None:
    _log.info("shutdown_started", in_flight=running.shutdown.in_flight, **msgspec.structs.asdict(terms))
    async with anyio.create_task_group() as tasks:

        async def hurry() -> None:
            await anext(signals)
            running.shutdown.close_now()

        tasks.start_soon(hurry)
        await running.shutdown.announce(terms.notice_seconds)
        await running.shutdown.run(terms.grace_seconds)
        tasks.cancel_scope.cancel()
    _log.info("shutdown_finished", in_flight=running.shutdown.in_flight)


def run_app(app: Any, listening: socket.socket, *, tls: Tls | None, started: Callable[[], None]) -> None:
    """Run a bare app until a signal."""

    async def main() -> None:
        async with serving(app, listening, ServerSettings(), tls):
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                started()
                await anext(signals)

    run_loop(main, "auto")


def run_loop(main: Callable[[], Any], loop: str) -> None:
    """Run a coroutine function on the loop of the settings: uvloop where it is installed, unless told otherwise.

    Raises:
        Exception: the one that ended it, out of the task groups' wrapping.

    """
    try:
        anyio.run(main, backend_options={"use_uvloop": _use_uvloop(loop)})
    except BaseExceptionGroup as group:
        raise _unwrap(group) from None


def _unwrap(error: BaseException) -> BaseException:
    """Take an error out of the groups that hold nothing else."""
    if isinstance(error, BaseExceptionGroup):
        held = cast("BaseExceptionGroup[BaseException]", error).exceptions
        if len(held) == 1:
            return _unwrap(held[0])
    return cast("BaseException", error)


def _use_uvloop(loop: str) -> bool:
    if loop == "auto":
        try:
            import uvloop  # noqa: F401  # pyright: ignore[reportUnusedImport]
        except ImportError:
            return False
    return loop != "asyncio"
