"""Timers that the connections of a server share."""

import asyncio
from collections.abc import Awaitable, Callable

from anyio.lowlevel import RunVar

from protocol.http.timers import Timers

_timers: RunVar[Timers] = RunVar("gemini_gateway.connection_timers")


def timers() -> Timers:
    """Return the timers that all connections of an event loop share."""
    found = _timers.get(None)
    if found is None:
        found = Timers()
        _timers.set(found)
    return found


class IdleTimer:
    """Calls `close` when a connection has been idle for `seconds`; replaces hypercorn's `AsyncioSingleTask`."""

    def __init__(self, seconds: float, close: Callable[[], None]) -> None:
        self._seconds, self._close = seconds, close
        self._timer, self._time = timers().of(seconds), asyncio.get_running_loop().time
        self.due: float | None = None
        """When the connection is closed (`protocol.http.timers.Timeout`)."""

    @property
    def running(self) -> bool:
        """Whether the connection is idle."""
        return self.due is not None

    def set_idle(self, *, idle: bool) -> None:
        """Start or stop the timer."""
        if idle:
            self.due = self._time() + self._seconds
            self._timer.add(self)
        else:
            self.due = None
            self._timer.discard(self)

    async def restart(self, _task_group: object, _action: Callable[..., Awaitable[None]]) -> None:
        """Start the timer."""
        self.set_idle(idle=True)

    async def stop(self) -> None:
        """Stop the timer."""
        self.set_idle(idle=False)

    def expire(self) -> None:
        """Close the connection."""
        self._close()
