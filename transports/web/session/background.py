"""What is left to do after a request, which does not wait for it: done in the transport's lifetime, or given up."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import structlog

from protocol.model import GatewayError
from transports.clock import Clock
from transports.tasks import background_tasks

_CLOSE_SECONDS = 5.0
"""What is open at the end is given so long."""

_log = structlog.get_logger()


class BackgroundWork:
    """Owns what is left to do."""

    def __init__(self, tasks: anyio.abc.TaskGroup, clock: Clock) -> None:
        """Run background in `tasks`."""
        self._tasks, self._clock = tasks, clock
        self._open = 0
        self._closing = anyio.Event()
        self._idle = anyio.Event()

    def later(self, seconds: float, name: str, errand: Callable[[], Awaitable[None]]) -> None:
        """Run an errand after so many seconds, or at the transport's end; its failure is only logged."""
        self._open += 1
        self._tasks.start_soon(self._run, seconds, name, errand)

    async def close(self) -> None:
        """Run all now, and wait a little for them."""
        self._closing.set()
        if self._open:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._idle.wait()

    async def _run(self, seconds: float, name: str, errand: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._pause(seconds)
            await errand()
        except GatewayError as error:
            _log.info("errand_failed", errand=name, error=type(error).__name__, code=error.code)
        except Exception:  # noqa: BLE001 -- a bug of ours is the errand's end, not the gateway's
            _log.exception("errand_failed", errand=name)
        finally:
            self._open -= 1
            if not self._open and self._closing.is_set():
                self._idle.set()

    async def _pause(self, seconds: float) -> None:
        if not seconds or self._closing.is_set():
            return
        async with anyio.create_task_group() as tasks:

            async def sleep() -> None:
                await self._clock.sleep(seconds)
                tasks.cancel_scope.cancel()

            tasks.start_soon(sleep)
            await self._closing.wait()
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_background_work(clock: Clock) -> AsyncGenerator[BackgroundWork]:
    """Yield a place for background; leaving runs what is open and waits a little for it."""
    async with background_tasks() as tasks:
        background = BackgroundWork(tasks, clock)
        try:
            yield background
        finally:
            await background.close()
