"""Runs the gateway in one process: opens its apps, serves them, reloads on SIGHUP, and drains them at the end."""

import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import msgspec
import structlog

from service.app import Running, open_app
from service.config.schema import DrainSettings, Origin, Settings
from service.server.errors import error_body
from service.server.garbage_collection import GarbageCollector
from service.server.hypercorn import run_loop, serve_loopback, serving
from service.server.listeners import API, Sockets
from service.server.memory import set_allocator
from service.server.request_head import HeadLimits
from transports.clock import SystemClock
from transports.store import Records
from transports.tasks import background_tasks

_log = structlog.get_logger()


class Supervisor:
    """The supervisor of this worker: it learns when the worker is ready, and the worker ends when it exits."""

    def __init__(
        self,
        started: Callable[[], None],
        parent: socket.socket | None = None,
        greet: Callable[[Records], Awaitable[None]] | None = None,
    ) -> None:
        """Call `greet`, then `started`, and notify the process at the other end of `parent`, when requests are served.

        `greet` gets the records of the open store.
        """
        self._started, self._parent, self._greet = started, parent, greet

    async def started(self, running: Running) -> None:
        """Report that requests are served from now on."""
        if self._greet is not None:
            await self._greet(running.records)
        self._started()
        if self._parent is not None:
            with suppress(OSError):  # it has exited: `wait_gone` returns
                self._parent.send(b"1")

    async def wait_gone(self) -> None:
        """Wait until the parent process exits."""
        if self._parent is None:
            await anyio.sleep_forever()
        else:
            await anyio.wait_readable(self._parent)
            _log.error("supervisor_exited")


def run_gateway(
    settings: Settings,
    *,
    origin: Origin,
    store_path: Path,
    listening: Sockets,
    supervisor: Supervisor,
) -> None:
    """Run one worker until a signal arrives or its supervisor exits, then drain it; each socket has its own app.

    Raises:
        SettingsError: the settings contradict each other.

    """
    set_allocator()
    for one in listening.values():
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # abort connections whose client reads nothing
            milliseconds = max(1, int(settings.limits.write_timeout_seconds * 1000))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    async def main() -> None:
        async with (
            open_app(settings, origin=origin, store_path=store_path, serve=serve_loopback) as running,
            AsyncExitStack() as stack,
        ):
            limits = HeadLimits(header_bytes=settings.limits.header_bytes, body_bytes=settings.limits.body_bytes)
            for name, one in listening.items():
                write = running.error_body if name == API else error_body
                app = serving(running.apps[name], one, settings.server, limits=limits, error_body=write)
                await stack.enter_async_context(app)
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                collector = GarbageCollector(lambda: running.shutdown.in_flight, SystemClock())
                collector.configure()
                async with background_tasks() as tasks:
                    tasks.start_soon(collector.run)
                    await tasks.start(_reload_on_sighup, running)
                    await supervisor.started(running)
                    await _drain_at_end(running, settings.drain, signals, supervisor)

    run_loop(main, settings.server.loop)


async def _reload_on_sighup(running: Running, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    """Reload on SIGHUP; ignore SIGHUP after that, so that it cannot end a process that is shutting down."""
    try:
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                await running.reload.reload()
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def _drain_at_end(running: Running, drain: DrainSettings, signals: Any, supervisor: Supervisor) -> None:
    """Wait for a signal or the supervisor's exit, and drain; another signal closes open requests at once."""
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            await supervisor.wait_gone()
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        await anext(signals)
        tasks.cancel_scope.cancel()
    _log.info("shutdown_started", in_flight=running.shutdown.in_flight, **msgspec.structs.asdict(drain))
    async with anyio.create_task_group() as tasks:

        async def hurry() -> None:
            await anext(signals)
            running.shutdown.close_now()

        tasks.start_soon(hurry)
        await running.shutdown.announce(drain.notice_seconds)
        await running.shutdown.run(drain.grace_seconds)
        tasks.cancel_scope.cancel()
    _log.info("shutdown_finished", in_flight=running.shutdown.in_flight)
