"""Background work that outlives a request: it runs in the transport's task group and ends at shutdown."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import structlog

from protocol.model import GatewayError
from transports.clock import Clock
from transports.tasks import background_tasks, wait_for

_CLOSE_SECONDS = 5.0
"""How long shutdown waits for open work."""

_log = structlog.get_logger()


class BackgroundWork:
    """Runs delayed work in the background."""

    def __init__(self, tasks: anyio.abc.TaskGroup, clock: Clock) -> None:
        """Run the work in `tasks`."""
        self._tasks, self._clock = tasks, clock
        self.unfinished = 0
        """Number of pieces of work that wait or run."""
        self._closing = anyio.Event()
        self._idle = anyio.Event()

    def later(self, seconds: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` after `seconds`, or at shutdown if that comes first; errors are only logged."""
        self.unfinished += 1
        self._tasks.start_soon(self._run, seconds, name, work)

    async def close(self) -> None:
        """Start all delayed work now, and wait briefly for it to end."""
        self._closing.set()
        if self.unfinished:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._idle.wait()

    async def _run(self, seconds: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            if seconds and not self._closing.is_set():
                await wait_for(self._closing, seconds, self._clock)
            await work()
        except GatewayError as error:
            _log.info("background_work_failed", work=name, error=type(error).__name__, code=error.code)
        except Exception:  # noqa: BLE001 -- a bug in the work must not stop the gateway
            _log.exception("background_work_failed", work=name)
        finally:
            self.unfinished -= 1
            if not self.unfinished and self._closing.is_set():
                self._idle.set()


@asynccontextmanager
async def open_background_work(clock: Clock) -> AsyncGenerator[BackgroundWork]:
    """Yield a `BackgroundWork`; on exit start what is delayed and wait briefly for it."""
    async with background_tasks() as tasks:
        background = BackgroundWork(tasks, clock)
        try:
            yield background
        finally:
            await background.close()
