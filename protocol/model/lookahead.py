"""Waits for the beginning of an answer without taking it from the reader."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol

from protocol.model.event import Event, Waiting


class Returnable(Protocol):
    """Events of which some can be put back, to be read again."""

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the events."""
        ...

    def put_back(self, events: Iterable[Event]) -> None:
        """Yield these before all others."""
        ...


class PutBack:
    """Makes the events of any iterator returnable."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        """Read `events`."""
        self._events = events
        self._first: deque[Event] = deque()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the events."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event."""
        return self._first.popleft() if self._first else await anext(self._events)

    def put_back(self, events: Iterable[Event]) -> None:
        """As `Returnable.put_back`."""
        self._first.extend(events)


def _any(_: Event) -> bool:
    return True


async def peek(events: Returnable, enough: Callable[[Event], bool] = _any) -> Event | None:
    """Wait for the first event that is `enough`; return it, None where the events end before.

    All events can still be read afterwards, except `Waiting` before that event.
    """
    first: list[Event] = []
    found: Event | None = None
    async for event in events:
        if isinstance(event, Waiting):
            continue
        first.append(event)
        if enough(event):
            found = event
            break
    events.put_back(first)
    return found
