"""Supervises several worker processes on the same sockets: starts them, restarts dead ones, stops them together.

The supervisor opens the sockets and passes them to `--fd` of each worker. It keeps one end of a socket pair per worker,
and the worker the other (`--parent`). A worker writes one byte when it serves requests, and shuts down when its end
reports that the supervisor has exited:

    supervisor ── sockets, pair ─▶ worker      starts
    supervisor ◀── one byte ────── worker      ready: announce the listeners once
    supervisor ◀── exit status ─── worker      restart it, with exponential backoff until it is ready
    supervisor ── end of file ───▶ worker      the supervisor has exited: drain and exit

SIGTERM and SIGINT are passed on to all workers; SIGHUP only to those that are ready, since it would kill others.
"""

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence

import anyio
import anyio.abc
import structlog
from prometheus_client.multiprocess import mark_process_dead  # pyright: ignore[reportUnknownVariableType]

from service.server.hypercorn import run_loop
from service.server.listeners import Sockets, fd_arguments
from transports.metrics import MULTIPROCESS_DIRECTORY

BAD_SETTINGS = 78
"""Exit status of a process with invalid settings (EX_CONFIG)."""

_TRIES = 3
"""Give up if a worker dies this often before any worker was ready."""

_log = structlog.get_logger()


class RestartBackoff:
    """Exponential backoff before a worker is restarted that died before it was ready."""

    def __init__(self, first: float = 1.0, most: float = 30.0) -> None:
        """Wait `first` seconds, then twice as long each time, up to `most`."""
        self._first, self._most = first, most

    def seconds(self, failures: int) -> float:
        """Return the seconds to wait after `failures` consecutive failures."""
        return min(self._first * 2 ** min(failures, 16), self._most)


class Workers:
    """The worker processes that share the sockets."""

    def __init__(
        self,
        command: Sequence[str],
        listening: Sockets,
        count: int,
        started: Callable[[], None],
        backoff: RestartBackoff | None = None,
    ) -> None:
        """Start each as `<command> --fd NAME=N … --parent M`; `started` is called when the first worker answers."""
        self._command, self._listening, self._count = command, listening, count
        self._started = started
        self._backoff = backoff or RestartBackoff()
        self._processes: set[anyio.abc.Process] = set()
        self._ready: set[anyio.abc.Process] = set()
        """Workers that are ready."""
        self._hangups = 0
        self._answered = False
        self._status = 0

    def run(self) -> int:
        """Run the workers until a signal; return the exit status."""
        with tempfile.TemporaryDirectory(prefix="gemini-gateway-metrics-") as directory:
            os.environ[MULTIPROCESS_DIRECTORY] = directory
            run_loop(self._main, "asyncio")
        return self._status

    async def _main(self) -> None:
        self._stopping = anyio.Event()
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:

            async def forward_signals() -> None:
                async for number in signals:
                    if number is not signal.SIGHUP:
                        self._stop()
                        continue
                    self._hangups += 1
                    for process in self._ready:  # the others get it when they are ready
                        process.send_signal(signal.SIGHUP)

            async with anyio.create_task_group() as everything:
                everything.start_soon(forward_signals)
                async with anyio.create_task_group() as workers:
                    for _ in range(self._count):
                        workers.start_soon(self._keep)
                everything.cancel_scope.cancel()

    def _stop(self) -> None:
        self._stopping.set()
        for process in self._processes:
            process.terminate()

    async def _keep(self) -> None:
        """Keep one worker running."""
        failures = 0
        while not self._stopping.is_set():
            status, answered = await self._run_one()
            failures = 0 if answered else failures + 1
            if self._stopping.is_set():
                self._status = self._status or _exit_status(status)
            elif not self._answered and (status == BAD_SETTINGS or failures >= _TRIES):
                self._status = _exit_status(status) or 1
                self._stop()
            else:
                _log.error("worker_died", status=status)
                with anyio.move_on_after(self._backoff.seconds(failures)):
                    await self._stopping.wait()

    async def _run_one(self) -> tuple[int, bool]:
        """Run a worker until it exits; return its status, and whether it was ever ready.

        The socket pair shows the worker when this process exits.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                fds = [*(one.fileno() for one in self._listening.values()), theirs.fileno()]
                process = await anyio.open_process(
                    [*self._command, *fd_arguments(self._listening), "--parent", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=None,
                    stderr=None,
                    pass_fds=fds,
                    start_new_session=True,
                )
            self._processes.add(process)
            if self._stopping.is_set():
                process.terminate()
            status = 0
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._wait_ready, ours, process)
                status = await process.wait()
                tasks.cancel_scope.cancel()
        answered = process in self._ready
        self._processes.discard(process)
        self._ready.discard(process)
        mark_process_dead(process.pid)
        return status, answered

    async def _wait_ready(self, worker: socket.socket, process: anyio.abc.Process) -> None:
        """Wait until a worker is ready; reload it if a SIGHUP arrived while it started."""
        before = self._hangups
        await anyio.wait_readable(worker)
        if not worker.recv(1):
            return
        self._ready.add(process)
        if self._hangups != before:
            process.send_signal(signal.SIGHUP)
        if not self._answered:
            self._answered = True
            self._started()


def _exit_status(status: int) -> int:
    """Return the exit status as a shell does; ending by SIGTERM counts as success."""
    if status == -signal.SIGTERM:
        return 0
    return status if status >= 0 else 128 - status
