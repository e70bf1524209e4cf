"""Timeouts of equal length that share one timer of the event loop.

Each request has several timeouts, and they almost never expire. Setting and canceling a timer of uvloop takes 2 µs;
adding to a set takes a twentieth of that. So all timeouts of the same length are in one set, which is checked when the
first one may expire, at most 64 times in that length. A timeout may be late by a 64th of its length.
"""

import asyncio
from typing import Protocol

_LOOKS = 64


class Timeout(Protocol):
    """A timeout whose end may move."""

    @property
    def due(self) -> float | None:
        """When it expires, by the event loop's clock; None while it is suspended.

        It may change at any time, to a time that is at least the timer's length ahead.
        """
        ...

    def expire(self) -> None:
        """Called when it expires, and again after the timer's length unless `due` changes."""
        ...


class SharedTimer:
    """Expires timeouts of one length."""

    def __init__(self, seconds: float) -> None:
        """Expire timeouts that are at least `seconds` long."""
        self._seconds = seconds
        self._timeouts: set[Timeout] = set()
        self._handle: asyncio.TimerHandle | None = None

    def add(self, timeout: Timeout) -> None:
        """Expire a timeout when it is due, until `discard`. Call it inside the event loop."""
        self._timeouts.add(timeout)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(self._seconds, self._scan)

    def discard(self, timeout: Timeout) -> None:
        """Remove a timeout."""
        self._timeouts.discard(timeout)

    def _scan(self) -> None:
        """Expire the timeouts that are due, and schedule the next check."""
        self._handle = None
        if not self._timeouts:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        next_look = now + self._seconds
        for timeout in tuple(self._timeouts):
            due = timeout.due
            if due is None:
                continue
            if due <= now:
                timeout.expire()
            else:
                next_look = min(next_look, due)
        self._handle = loop.call_at(max(next_look, now + self._seconds / _LOOKS), self._scan)


class Timers:
    """The shared timers of an app, by length."""

    def __init__(self) -> None:
        """Start with no timer."""
        self._timers: dict[float, SharedTimer] = {}

    def of(self, seconds: float) -> SharedTimer:
        """Return the timer for timeouts of `seconds`; lengths come from settings, so there are few."""
        timer = self._timers.get(seconds)
        if timer is None:
            timer = self._timers[seconds] = SharedTimer(seconds)
        return timer
