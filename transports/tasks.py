"""Time and background work on the event loop: the clock, periodic work, work after changes, and turns of streams.

This is the one module that reads the system's clocks; everything else is given a `Clock`.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio
import anyio.abc
import structlog
from anyio.lowlevel import RunVar

_AT_ONCE = 4
"""Chunks in one pass of the event loop: one each costs a system call, so fewer would cost more."""
_CROWD = 8
"""While more streams than this wait, each pass handles one chunk."""

_log = structlog.get_logger()


class Clock(Protocol):
    """Tells and passes time."""

    def monotonic(self) -> float:
        """Seconds that never go back; for durations."""
        ...

    def wall(self) -> float:
        """Epoch seconds; for display and for resets that upstreams give."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return not before `seconds` have passed."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wall(self) -> float:
        """Epoch seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await anyio.sleep(seconds)


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


class Interleaver:
    """Lets new requests run between the chunks of running streams when the event loop is busy.

    The event loop runs callbacks in the order in which they became ready. If 500 streams receive a chunk at the same
    moment, a request that arrives just then waits for all 500 at each of its own steps, and its first token is late by
    a multiple of the time that the chunks take.

    So a stream that has begun asks for a turn before it handles a chunk. In one pass of the event loop only a few
    streams get one; the others wait in line, first come first served, and everything else that is ready runs between
    the passes:

        pass 1: chunk of stream 1, a step of the new request
        pass 2: chunk of stream 2, the next step of the new request
        ...

    A chunk that waits is late by the time that the chunks before it take, as it would be without turns. While few
    streams are ready, no turn is waited for.
    """

    def __init__(self) -> None:
        """Serve the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._left = _AT_ONCE
        self._counting = False

    async def turn(self) -> None:
        """Return when the next chunk of a stream may be handled."""
        if self._left and not self._waiting:
            self._left -= 1
            if not self._counting:
                self._counting = True
                self._loop.call_soon(self._next_pass)
            return
        turn = self._loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next_pass(self) -> None:
        """Give turns to the first streams in line; those that were cancelled meanwhile need none."""
        self._left = 1 if len(self._waiting) > _CROWD else _AT_ONCE
        self._counting = False
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
                self._counting = True
        if self._counting:
            self._loop.call_soon(self._next_pass)


_OF_THE_LOOP: RunVar[Interleaver] = RunVar("interleaver")


def interleaver() -> Interleaver:
    """Return the interleaver of the running event loop."""
    try:
        return _OF_THE_LOOP.get()
    except LookupError:
        shared = Interleaver()
        _OF_THE_LOOP.set(shared)
        return shared
