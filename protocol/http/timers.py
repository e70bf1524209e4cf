"""Timeouts of equal length that share one timer of the event loop.

Each request has several timeouts, and next to none of them ever ends. A timer of uvloop's costs 2 µs to set and to
cancel; to be in a set costs a twentieth. So all timeouts of the same length are looked through when the first of them
may be over. There are at most 64 looks in that length: a timeout may be late by a 64th of it.
"""

import asyncio
from typing import Protocol

_LOOKS = 64


class Timeout(Protocol):
    """A timeout that may be put off."""

    @property
    def due(self) -> float | None:
        """When it is over, by the event loop's clock; None: it does not run now.

        It may change at any time, to a time that is at least the timer's length ahead.
        """
        ...

    def expire(self) -> None:
        """Act: it is over. Where `due` does not change then, it is called again after the timer's length."""
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
            self._handle = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def discard(self, timeout: Timeout) -> None:
        """Expire a timeout no more."""
        self._timeouts.discard(timeout)

    def _look(self) -> None:
        """Expire what is due, and look again when the next timeout may be, if there is one."""
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
        self._handle = loop.call_at(max(next_look, now + self._seconds / _LOOKS), self._look)


class Timers:
    """The shared timers of an app, by length."""

    def __init__(self) -> None:
        """Begin without any."""
        self._timers: dict[float, SharedTimer] = {}

    def of(self, seconds: float) -> SharedTimer:
        """Return the timer for timeouts of `seconds`; lengths come from settings, so there are few."""
        timer = self._timers.get(seconds)
        if timer is None:
            timer = self._timers[seconds] = SharedTimer(seconds)
        return timer
