"""Who waits for an account, in the order in which they came."""

import math
from bisect import insort
from collections.abc import Callable, Iterator
from itertools import count

import anyio
import msgspec

from transports.pool.state import State, Want


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks the pool for."""

    want: Want
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
    """All who wait; first come, first served."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._waiting: list[Waiter] = []
        self._tickets = count()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(list(self._waiting))

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
