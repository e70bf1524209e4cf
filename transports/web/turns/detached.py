"""Run a turn in the background, so that it reaches its end even if its reader leaves.

Theory of operation. The site may drop a turn whose stream is closed early, and a turn that starts paid work must not be
lost half-way. So the turn runs in the background and passes its events through a memory stream, from which the reader
takes them. When the reader leaves, the turn is cancelled, unless `keep_running` was called: then it runs on for at most
`TURN_SECONDS`, and its events are dropped.

Example: a client asks for a video and disconnects. Before the site has named the conversation, the turn is cancelled.
After that (`keep_running`), the turn runs to its end, and the video can be found in the saved conversation.
"""

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress

import anyio

from protocol.model import Event
from transports.web.session.background import BackgroundWork

TURN_SECONDS = 120.0
"""How long a turn may run on after its reader has left."""


class DetachedTurn:
    """A turn that runs in the background; iterate over it to read its events."""

    def __init__(self, turn: AsyncGenerator[Event]) -> None:
        """Take a turn that has not started."""
        self._turn = turn
        self._sender, self._receiver = anyio.create_memory_object_stream[Event](math.inf)
        self._scope = anyio.CancelScope()
        self._error: Exception | None = None
        self._keeps_running = self._detached = False

    def keep_running(self) -> None:
        """Let the turn run to its end after the reader leaves; without this it is cancelled then."""
        self._keeps_running = True

    def __aiter__(self) -> "DetachedTurn":
        """Return this iterator."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Raises:
            GatewayError: the site refused, or its answer broke off.

        """
        try:
            return await self._receiver.receive()
        except anyio.EndOfStream:
            raise self._error or StopAsyncIteration from None

    async def run(self) -> None:
        """Read the turn to its end.

        Raises:
            GatewayError: as `__anext__`, if the reader has left.

        """
        with self._scope, self._sender:
            try:
                async with aclosing(self._turn) as events:
                    async for event in events:
                        with suppress(anyio.BrokenResourceError):  # the reader has left
                            self._sender.send_nowait(event)
            except Exception as error:  # raised in `__anext__` while there is a reader
                if self._detached:
                    raise
                self._error = error

    def detach(self) -> None:
        """Stop reading; cancel the turn unless `keep_running` was called."""
        self._detached = True
        self._receiver.close()
        if self._keeps_running:
            self._scope.deadline = anyio.current_time() + TURN_SECONDS
        else:
            self._scope.cancel()


@asynccontextmanager
async def detached_turn(background: BackgroundWork, turn: AsyncGenerator[Event]) -> AsyncGenerator[DetachedTurn]:
    """Start a turn in the background and yield it for reading; detach on exit."""
    detached = DetachedTurn(turn)
    background.later(0.0, "send_turn", detached.run)
    try:
        yield detached
    finally:
        detached.detach()
