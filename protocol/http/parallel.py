"""Runs several coroutines concurrently and waits for all."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from protocol.model import GatewayError, released

ValueT = TypeVar("ValueT")

_AT_ONCE = 2


class WorkerThreads:
    """Threads for one kind of work: at most two at once in each event loop."""

    def __init__(self, name: str) -> None:
        """Keep the limit under `name`."""
        self._limiter: RunVar[anyio.CapacityLimiter] = RunVar(f"gemini_gateway.{name}")

    async def run(self, work: Callable[[], ValueT]) -> ValueT:
        """Run `work` in a thread; wait while two others run."""
        limiter = self._limiter.get(None)
        if limiter is None:
            limiter = anyio.CapacityLimiter(_AT_ONCE)
            self._limiter.set(limiter)
        return await in_thread(work, limiter)


_workers = WorkerThreads("worker")


async def run_in_worker(work: Callable[[], ValueT]) -> ValueT:
    """Run `work` in a worker thread; at most two run at once."""
    return await _workers.run(work)


async def in_thread(work: Callable[[], ValueT], limiter: anyio.CapacityLimiter | None = None) -> ValueT:
    """Run `work` in a thread. The thread keeps no reference to `work` once it has finished."""
    return await anyio.to_thread.run_sync(_Once(work), limiter=limiter)


class _Once(Generic[ValueT]):
    """A callable that runs once and then drops its reference to the work."""

    def __init__(self, work: Callable[[], ValueT]) -> None:
        self._work = [work]

    def __call__(self) -> ValueT:
        return self._work.pop()()


async def outcomes(works: Sequence[Callable[[], Awaitable[ValueT]]]) -> list[ValueT | GatewayError]:
    """Run all functions concurrently; return the value or error of each, in order."""
    if not works:
        return []
    done: dict[int, ValueT | GatewayError] = {}

    async def do(index: int, work: Callable[[], Awaitable[ValueT]]) -> None:
        try:
            done[index] = await work()
        except GatewayError as error:
            done[index] = released(error)

    async with anyio.create_task_group() as tasks:
        for index, work in enumerate(works):
            tasks.start_soon(do, index, work)
    return [done[index] for index in range(len(works))]


async def gather(works: Sequence[Callable[[], Awaitable[ValueT]]]) -> list[ValueT]:
    """Run all functions concurrently; return their values, in order.

    Raises:
        GatewayError: the first error, in order.

    """
    got: list[ValueT] = []
    for outcome in await outcomes(works):
        if isinstance(outcome, GatewayError):
            raise outcome
        got.append(outcome)
    return got
