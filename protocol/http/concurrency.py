"""Runs several coroutines concurrently and waits for all."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from protocol.model import GatewayError, released

ValueT = TypeVar("ValueT")


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


async def values(works: Sequence[Callable[[], Awaitable[ValueT]]]) -> list[ValueT]:
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
