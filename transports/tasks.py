"""Work that goes on beside a context, for as long as it lasts."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc

from transports.clock import Clock


@asynccontextmanager
async def background_tasks() -> AsyncGenerator[anyio.abc.TaskGroup]:
    """Yield a group for tasks that end with the context, whose own errors are raised as they are, in no group."""
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except Exception as error:  # noqa: BLE001 -- raised again below, outside of the group that would wrap it
            failure = error
        finally:
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def background_tasks_with_final(
    runs: Iterable[Callable[[], Coroutine[Any, Any, None]]],
    last: Callable[[], Awaitable[None]],
    seconds: float,
) -> AsyncGenerator[None]:
    """Run these for as long as the context lasts; when they have ended, do the last thing, for so long at most."""
    try:
        async with background_tasks() as tasks:
            for run in runs:
                tasks.start_soon(run)
            yield
    finally:
        with anyio.move_on_after(seconds, shield=True):
            await last()


async def wait_for(event: anyio.Event, seconds: float, clock: Clock) -> bool:
    """Wait until something happens, or so many seconds have passed; say whether it has happened."""
    async with anyio.create_task_group() as tasks:

        async def sleep() -> None:
            await clock.sleep(seconds)
            tasks.cancel_scope.cancel()

        tasks.start_soon(sleep)
        await event.wait()
        tasks.cancel_scope.cancel()
    return event.is_set()
