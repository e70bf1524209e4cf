"""The end of the process, in order: not ready, finish what is open, tell the rest, close.

hypercorn's own graceful stop hangs while a stream is open (Python 3.12 and later), so it is told to stop only
when nothing is open any more.
"""

import anyio

from protocol.http.shutdown import ShutdownEvent

_AFTER_CLOSING_SECONDS = 5.0
"""Streams that were told to end have so long to do it."""


class Shutdown:
    """What is open, and whether the process is ending."""

    def __init__(self) -> None:
        """Begin open for work. Call it inside the event loop."""
        self.leaving = False
        """Others are to be asked, and whoever asks is answered all the same."""
        self.draining = False
        """No more work is taken."""
        self.ending = ShutdownEvent()
        """Set when the end begins: for what goes on for ever, and need not be finished."""
        self.closing = ShutdownEvent()
        """Set when open requests are told to end."""
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
        """Say whether others are to be asked."""
        return self.leaving

    async def announce(self, notice_seconds: float) -> None:
        """Have others asked, for so long or until it is to hurry; until then balancers may not have noticed."""
        self.leaving = True
        with anyio.move_on_after(notice_seconds):
            await self.closing.wait()

    async def run(self, grace_seconds: float) -> None:
        """Take no more work; return when nothing is open, or what is open had its chance."""
        self.leaving = self.draining = True
        self.ending.set()
        if not self.in_flight:
            self._idle.set()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._close_after, grace_seconds)
            with anyio.move_on_after(grace_seconds + _AFTER_CLOSING_SECONDS) as patience:
                tasks.start_soon(self._hurry, patience)
                await self._idle.wait()
            tasks.cancel_scope.cancel()

    def close_now(self) -> None:
        """Tell open requests to end now."""
        self.closing.set()

    async def _close_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.closing.set()

    async def _hurry(self, patience: anyio.CancelScope) -> None:
        await self.closing.wait()
        patience.deadline = min(patience.deadline, anyio.current_time() + _AFTER_CLOSING_SECONDS)
