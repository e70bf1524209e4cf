"""Reads the beginning of an answer and puts it back, so that the reader still gets every event."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol

from protocol.model.event import Event, Waiting


class Returnable(Protocol):
    """An iterator of events to which events can be put back."""

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the events."""
        ...

    def put_back(self, events: Iterable[Event]) -> None:
        """Yield these events before all others."""
        ...


class PutBack:
    """Wraps an iterator so that events can be put back."""

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
        """Put events back, as `Returnable.put_back`."""
        self._first.extend(events)


def _any(_: Event) -> bool:
    return True


async def peek(events: Returnable, enough: Callable[[Event], bool] = _any) -> Event | None:
    """Return the first event for which `enough` is true, or None if the events end before.

    All events can still be read afterwards, except each `Waiting` before that event.
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
