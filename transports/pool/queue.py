"""Requests that wait for an account, in an order that is fair between licenses.

A free account goes to the license that holds the fewest, and within a license to the request that came first. A
license with many slow requests therefore delays itself: another one gets the next account that is released.
"""

import math
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import count

import anyio
import msgspec

from transports.pool.state import State, Want


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks the pool for."""

    want: Want
    license: str = ""
    """The caller's."""
    tried: frozenset[str] = frozenset()
    """Not these any more."""
    home: str | None = None
    """This one before others."""
    only: str | None = None
    """This one or none."""
    until: float = math.inf
    """Not after that, by the event loop's clock."""

    def takes(self, state: State) -> bool:
        """Say whether this account will do, once it is free."""
        name = state.account.id
        return name not in self.tried and self.only in {None, name} and state.suits(self.want)


class Waiter:
    """One who waits; the place in the queue is kept until an account was had."""

    def __init__(self, ask: Ask, ticket: int, until: float) -> None:
        """Wait until then, by the event loop's clock."""
        self.ask, self.ticket, self.until = ask, ticket, until
        self.woken = anyio.Event()
        self.given: State | None = None

    def give(self, state: State | None) -> None:
        """End the wait, with an account or to look again."""
        self.given = state
        self.woken.set()


class Queue:
    """All requests that wait."""

    def __init__(self) -> None:
        """Start empty."""
        self._waiting: list[Waiter] = []
        self._tickets = count()
        self.held: Counter[str] = Counter()
        """Accounts that each license holds; the pool counts them."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiter]:
        """Yield the waiters in their fair order; one that gets an account puts its license behind the others."""
        lines: dict[str, deque[Waiter]] = {}
        for waiter in self._waiting:
            lines.setdefault(waiter.ask.license, deque()).append(waiter)
        while lines:
            first = min((line[0] for line in lines.values()), key=self._turn)
            line = lines[first.ask.license]
            line.popleft()
            if not line:
                del lines[first.ask.license]
            yield first

    def precedes(self, waiter: Waiter, ask: Ask, before: Waiter | None) -> bool:
        """Return whether a waiter comes before a request, which is new where `before`, its own waiter, is None."""
        ticket = before.ticket if before is not None else math.inf
        return self._turn(waiter) < (self.held[ask.license], ticket)

    def is_full(self, ask: Ask, most: float) -> bool:
        """Return whether a license has its part of the `most` requests that may wait."""
        waiting = Counter(waiter.ask.license for waiter in self._waiting)
        return waiting[ask.license] >= most / len({*waiting, ask.license})

    def _turn(self, waiter: Waiter) -> tuple[int, float]:
        return (self.held[waiter.ask.license], waiter.ticket)

    def ticket(self, ask: Ask, until: float) -> Waiter:
        """Return one who comes now."""
        return Waiter(ask, next(self._tickets), until)

    async def wait(self, waiter: Waiter, refuse: Callable[[State], None]) -> State | None:
        """Wait for an account; None: look again, or the time is over.

        One that is given to somebody who has left meanwhile goes to `refuse`.
        """
        waiter.woken, waiter.given = anyio.Event(), None
        insort(self._waiting, waiter, key=lambda other: other.ticket)
        try:
            with anyio.move_on_at(waiter.until):
                await waiter.woken.wait()
        except BaseException:
            if waiter.given is not None:
                refuse(waiter.given)
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        return waiter.given

    def give(self, waiter: Waiter, state: State | None) -> None:
        """Let one go, with an account or to look again."""
        self._waiting.remove(waiter)
        waiter.give(state)
