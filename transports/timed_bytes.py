"""Reads the bytes of a streamed answer, with a timeout that only valid frames reset.

A frame is what the upstream sends at once: a frame of the site, a chunk of the API. Bytes that complete none, such as
comments that keep a connection open, do not count. While streams wait for the event loop, requests that have no frame
yet come first: see `transports.interleave`.
"""

import asyncio

import aiohttp

from transports.interleave import interleaver

_AFTER_COMPLETE = 5.0
"""How long the stream of a complete answer may take to end."""
_READS = 16
"""After this number of reads a stream waits for nothing but the next pass of the event loop.

anyio cancels a task only while what it waits for is pending. Of an upstream that sends as fast as this process reads,
the next bytes are always there when anyio looks, so the answer would go on after its client has left.
"""


class TimedBytes:
    """Reads a response's bytes; always `close` it.

    One timer serves the whole answer. A scope around each read would cost as much as the read itself.
    """

    def __init__(self, content: aiohttp.StreamReader, until: float, between: float) -> None:
        """Time out at `until`, and after each frame `between` seconds later."""
        self._content, self._until, self._between = content, until, between
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(until, self._check_deadline)
        self._interleaver = interleaver()
        self._frames = self._reads = 0
        self._waiting = self._complete = False

    async def next(self) -> bytes:
        """Return the next bytes, empty at the end; after the first frame, yield to requests that have none yet.

        Raises:
            TimeoutError: no valid frame came in time.

        """
        self._waiting = True
        try:
            chunk = await self._content.readany()
        finally:
            self._waiting = False
        self._reads += 1
        if self._reads % _READS == 0:
            await asyncio.sleep(0)
        if self._frames:
            await self._interleaver.turn()
        return chunk

    def note(self, frames: int, *, complete: bool = False) -> None:
        """Update the timeout from the number of valid frames so far, and from whether the answer is complete."""
        if complete:
            if not self._complete:
                self._until = self._loop.time() + _AFTER_COMPLETE
                self._timer.cancel()
                self._timer = self._loop.call_at(self._until, self._check_deadline)
        elif frames != self._frames or self._complete:
            self._until = self._loop.time() + self._between
            if not self._frames and self._until < self._timer.when():  # the first frame was allowed more time
                self._timer.cancel()
                self._timer = self._loop.call_at(self._until, self._check_deadline)
        self._complete, self._frames = complete, frames

    def close(self) -> None:
        """Cancel the timer."""
        self._timer.cancel()

    def _check_deadline(self) -> None:
        """Time out a wait that is too long, else check again later."""
        now = self._loop.time()
        if not self._waiting:
            self._until = max(self._until, now + self._between)
        if self._until <= now:
            self._content.set_exception(TimeoutError())
        else:
            self._timer = self._loop.call_at(self._until, self._check_deadline)
