"""Several workers on one socket: started, restarted when one dies, drained together."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterable

import anyio
import anyio.abc
import structlog
from prometheus_client.multiprocess import mark_process_dead  # pyright: ignore[reportUnknownVariableType]

from service.operations import MULTIPROCESS_DIRECTORY
from service.server import run_loop

BAD_SETTINGS = 78
"""The exit status of a process whose settings are wrong (EX_CONFIG)."""

_RESTART_SECONDS = 1.0

_log = structlog.get_logger()


class Workers:
    """The processes that share a socket."""

    def __init__(self, arguments: list[str], listening: socket.socket, count: int) -> None:
        """Start each as `python -m service <arguments> --fd N`."""
        self._command = [sys.executable, "-m", "service", *arguments, "--fd", str(listening.fileno())]
        self._listening, self._count = listening, count
        self._processes: set[anyio.abc.Process] = set()
        self._stopping = False
        self._status = 0

    def run(self) -> int:
        """Run them until a signal; return the exit status."""
        with tempfile.TemporaryDirectory(prefix="gemini-gateway-metrics-") as directory:
            os.environ[MULTIPROCESS_DIRECTORY] = directory
            run_loop(self._main, "asyncio")
        return self._status

    async def _main(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with anyio.create_task_group() as everything:
                everything.start_soon(self._forward, signals)
                async with anyio.create_task_group() as workers:
                    for _ in range(self._count):
                        workers.start_soon(self._keep)
                everything.cancel_scope.cancel()

    async def _forward(self, signals: AsyncIterable[signal.Signals]) -> None:
        async for _ in signals:
            self._stop()

    def _stop(self) -> None:
        self._stopping = True
        for process in self._processes:
            process.terminate()

    async def _keep(self) -> None:
        """Keep one worker running."""
        while not self._stopping:
            process = await anyio.open_process(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=None,
                stderr=None,
                pass_fds=[self._listening.fileno()],
                start_new_session=True,
            )
            self._processes.add(process)
            status = await process.wait()
            self._processes.discard(process)
            mark_process_dead(process.pid)
            if self._stopping:
                self._status = self._status or status
            elif status == BAD_SETTINGS:
                self._status = status
                self._stop()
            else:
                _log.error("worker_died", status=status)
                await anyio.sleep(_RESTART_SECONDS)
