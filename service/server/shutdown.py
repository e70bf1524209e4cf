"""Shuts the process down in order: report not ready, drain open requests, cancel the rest, close.

hypercorn's own graceful stop hangs while a stream is open (Python 3.12 and later), so hypercorn is stopped only after
the last request has ended.
"""

import anyio

from protocol.http.disconnect import CallbackEvent

_AFTER_CLOSING_SECONDS = 5.0
"""How long requests may take to end after `closing` is set."""


class Shutdown:
    """The state of a shutdown and the number of open requests."""

    def __init__(self) -> None:
        """Start in normal operation. Call this inside the event loop."""
        self.leaving = False
        """Whether shutdown was announced: `/readyz` reports not ready, and requests are still answered."""
        self.draining = False
        """Whether new requests are refused."""
        self.ending = CallbackEvent()
        """Set when draining begins; ends endless streams, such as the admin feed."""
        self.closing = CallbackEvent()
        """Set when open requests must end."""
        self.in_flight = 0
        self._idle = anyio.Event()

    def count_in(self) -> None:
        """Count a request in."""
        self.in_flight += 1

    def count_out(self) -> None:
        """Count a request out."""
        self.in_flight -= 1
        if self.draining and not self.in_flight:
            self._idle.set()

    def is_leaving(self) -> bool:
        """Return whether shutdown was announced."""
        return self.leaving

    async def announce(self, notice_seconds: float) -> None:
        """Report not ready for `notice_seconds`, or until `close_now`, so that load balancers notice."""
        self.leaving = True
        with anyio.move_on_after(notice_seconds):
            await self.closing.wait()

    async def run(self, grace_seconds: float) -> None:
        """Refuse new requests; return when the open ones have ended or their grace period is over."""
        self.leaving = self.draining = True
        self.ending.set()
        if not self.in_flight:
            self._idle.set()

        async def close() -> None:
            with anyio.move_on_after(grace_seconds):
                await self.closing.wait()
            self.closing.set()
            await anyio.sleep(_AFTER_CLOSING_SECONDS)
            self._idle.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close)
            await self._idle.wait()
            tasks.cancel_scope.cancel()

    def close_now(self) -> None:
        """End open requests now."""
        self.closing.set()
