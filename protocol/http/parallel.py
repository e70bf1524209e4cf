"""Runs several coroutines concurrently and waits for all; runs blocking work in threads."""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from protocol.http.budget import ByteBudget, Reservation
from protocol.model import GatewayError, released

ValueT = TypeVar("ValueT")

_AT_ONCE = 2
_MOST_WAITING = 1000


class WorkerThreads:
    """Threads for one kind of work: at most two at once in each event loop, one piece of work per license in turn."""

    def __init__(self, name: str) -> None:
        """Keep the limit under `name`."""
        self._slots: RunVar[ByteBudget] = RunVar(f"gemini_gateway.{name}")

    async def run(self, work: Callable[[], ValueT], owner: str = "") -> ValueT:
        """Run `work` for a license (`owner`) in a thread; wait while two others run.

        Raises:
            Saturated: too much work waits.

        """
        slots = self._slots.get(None)
        if slots is None:
            slots = ByteBudget(_AT_ONCE, math.inf, most_waiting=_MOST_WAITING)
            self._slots.set(slots)
        slot = Reservation(slots, owner)
        try:
            await slot.raise_to(1)
            return await in_thread(work)
        finally:
            slot.release()


_workers = WorkerThreads("worker")


async def run_in_worker(work: Callable[[], ValueT], owner: str = "") -> ValueT:
    """Run `work` for a license in a worker thread, as `WorkerThreads.run`."""
    return await _workers.run(work, owner)


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
