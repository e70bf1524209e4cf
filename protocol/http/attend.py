"""Runs a handler until it finishes, its client disconnects or the process shuts down.

Every request pays for this, so it costs one bare task, which waits for the disconnect. A task group would cost three
times as much, and has nothing to offer here: the task raises nothing, and ends as soon as it is cancelled.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from protocol.http.context import Context

Work = Callable[[], Coroutine[Any, Any, None]]


class Attended:
    """One request's work, cancelled at once when its client leaves or the process gives up on it."""

    def __init__(self, receive: Any, context: Context) -> None:
        """Be the one that listens to `receive`; the request's body has been read."""
        self._receive, self._context = receive, context
        self._scope = anyio.CancelScope()
        self.finished = False
        """The answer is whole: set it before its last bytes, since the server reports a disconnect after them."""
        self.gone = False
        """The client left before the end."""
        self.closed = False
        """The process ends, and the work with it."""

    async def run(self, work: Work) -> None:
        """Do the work; afterwards `gone` and `closed` say whether it was cut short."""
        listener = asyncio.get_running_loop().create_task(self._listen())
        closing = self._context.closing
        closing.tell(self._close)
        try:
            with self._scope:
                await work()
        finally:
            closing.forget(self._close)
            listener.cancel()

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self.finished:
            self.gone = True
            self._scope.cancel()

    def _close(self) -> None:
        if not self.finished:
            self.closed = True
            self._scope.cancel()
