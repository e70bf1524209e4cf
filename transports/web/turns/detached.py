"""Says a turn as an errand, so that its stream is read to its end whoever leaves: a site need not keep a cut turn."""

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress

import anyio

from protocol.model import Event
from transports.web.session.background import BackgroundWork

TURN_SECONDS = 120.0
"""A turn that nobody listens to any more has so long for its stream to end."""


class DetachedTurn:
    """A turn that is being said: the events of its stream, for as long as somebody listens."""

    def __init__(self, turn: AsyncGenerator[Event]) -> None:
        """Take a turn that has not begun."""
        self._turn = turn
        self._sender, self._receiver = anyio.create_memory_object_stream[Event](math.inf)
        self._scope = anyio.CancelScope()
        self._error: Exception | None = None
        self._keeps_running = self._detached = False

    def keep_running(self) -> None:
        """Say it to its end though nobody should listen any more; without this, it is cut then."""
        self._keeps_running = True

    def __aiter__(self) -> "DetachedTurn":
        """Listen."""
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
        """Say it.

        Raises:
            GatewayError: as `__anext__`, where nobody listens any more.

        """
        with self._scope, self._sender:
            try:
                async with aclosing(self._turn) as events:
                    async for event in events:
                        with suppress(anyio.BrokenResourceError):  # nobody listens
                            self._sender.send_nowait(event)
            except Exception as error:  # raised where somebody listens
                if self._detached:
                    raise
                self._error = error

    def detach(self) -> None:
        """Listen no more."""
        self._detached = True
        self._receiver.close()
        if self._keeps_running:
            self._scope.deadline = anyio.current_time() + TURN_SECONDS
        else:
            self._scope.cancel()


@asynccontextmanager
async def detached_turn(background: BackgroundWork, turn: AsyncGenerator[Event]) -> AsyncGenerator[DetachedTurn]:
    """Begin to say a turn, and listen to it; leaving listens no more."""
    said = DetachedTurn(turn)
    background.later(0.0, "say_turn", said.run)
    try:
        yield said
    finally:
        said.detach()
