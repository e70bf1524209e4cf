"""Lets new requests run between the chunks of running streams when the event loop is busy.

The event loop runs callbacks in the order in which they became ready. If 500 streams receive a chunk at the same
moment, a request that arrives just then waits for all 500 at each of its own steps, and its first token is late by
a multiple of the time that the chunks take.

So a stream that has begun asks for a turn before it handles a chunk. In one pass of the event loop only a few
streams get one; the others wait in line, first come first served, and everything else that is ready runs between
the passes:

    pass 1: chunk of stream 1, a step of the new request
    pass 2: chunk of stream 2, the next step of the new request
    ...

A chunk that waits is late by the time that the chunks before it take, as it would be without turns. While few
streams are ready, no turn is waited for.
"""

import asyncio
from collections import deque

from anyio.lowlevel import RunVar

_AT_ONCE = 4
"""Chunks in one pass of the event loop: one each costs a system call, so fewer would cost more."""
_CROWD = 8
"""While more streams than this wait, each pass handles one chunk."""


class Interleaver:
    """Gives turns to the streams of one event loop."""

    def __init__(self) -> None:
        """Serve the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._left = _AT_ONCE
        self._counting = False

    async def turn(self) -> None:
        """Return when the next chunk of a stream may be handled."""
        if self._left and not self._waiting:
            self._left -= 1
            if not self._counting:
                self._counting = True
                self._loop.call_soon(self._next_pass)
            return
        turn = self._loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next_pass(self) -> None:
        """Give turns to the first streams in line; those that were cancelled meanwhile need none."""
        self._left = 1 if len(self._waiting) > _CROWD else _AT_ONCE
        self._counting = False
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
                self._counting = True
        if self._counting:
            self._loop.call_soon(self._next_pass)


_OF_THE_LOOP: RunVar[Interleaver] = RunVar("interleaver")


def interleaver() -> Interleaver:
    """Return the interleaver of the running event loop."""
    try:
        return _OF_THE_LOOP.get()
    except LookupError:
        shared = Interleaver()
        _OF_THE_LOOP.set(shared)
        return shared
