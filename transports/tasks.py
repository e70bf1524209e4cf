"""Background work on the event loop: task groups, periodic work, and work after changes."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import structlog

from transports.clock import Clock

_log = structlog.get_logger()


@asynccontextmanager
async def background_tasks() -> AsyncGenerator[anyio.abc.TaskGroup]:
    """Yield a task group that is cancelled at the end; re-raise the body's error as it is, not in an ExceptionGroup."""
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except Exception as error:  # noqa: BLE001 -- raised again below, outside the group that would wrap it
            failure = error
        finally:
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def background_tasks_with_final(
    runs: Iterable[Callable[[], Coroutine[Any, Any, None]]],
    last: Callable[[], Awaitable[object]],
    seconds: float,
    failed: str,
) -> AsyncGenerator[None]:
    """Run `runs` while the context lasts, cancel them at its end, then call `last`, for up to `seconds`.

    An OSError of `last` is logged as the event `failed`: the store may be down.
    """
    try:
        async with background_tasks() as tasks:
            for run in runs:
                tasks.start_soon(run)
            yield
    finally:
        with anyio.move_on_after(seconds, shield=True):
            try:
                await last()
            except OSError:
                _log.warning(failed)


async def every(
    seconds: float, work: Callable[[], Awaitable[None] | None], clock: Clock, *, wait: bool = False
) -> None:
    """Call `work` every `seconds` until cancelled; the first time at once, or with `wait` after the first pause."""
    if wait:
        await clock.sleep(seconds)
    while True:
        done = work()
        if done is not None:
            await done
        await clock.sleep(seconds)


class Trigger:
    """Starts work after changes. A change that comes while the work runs starts it again afterwards."""

    def __init__(self) -> None:
        """Create the trigger, not set."""
        self._changed = anyio.Event()

    def set(self) -> None:
        """Schedule a run."""
        self._changed.set()

    async def run(
        self,
        work: Callable[[], Awaitable[None]],
        failed: Callable[[], None],
        clock: Clock,
        *,
        delay: float = 0.0,
        retry_seconds: float = 1.0,
    ) -> None:
        """Call `work` after each change, until cancelled; `delay` lets several changes share one call.

        After an OSError, `failed` is called, and the work is tried again after `retry_seconds`.
        """
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            if delay:
                await clock.sleep(delay)
            try:
                await work()
            except OSError:
                failed()
                self._changed.set()
                await clock.sleep(retry_seconds)


async def wait_for(event: anyio.Event, seconds: float, clock: Clock) -> bool:
    """Wait until the event is set or `seconds` have passed; return whether it is set."""
    async with anyio.create_task_group() as tasks:

        async def sleep() -> None:
            await clock.sleep(seconds)
            tasks.cancel_scope.cancel()

        tasks.start_soon(sleep)
        await event.wait()
        tasks.cancel_scope.cancel()
    return event.is_set()
