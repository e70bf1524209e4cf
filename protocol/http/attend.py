"""Answers for as long as there is somebody to answer: the client stays, and the process lives."""

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

    async def run(self, work: Work, *beside: Work) -> None:
        """Do the work, and beside it what ends with it; then `gone` and `closed` tell whether it was cut short."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            for other in beside:
                tasks.start_soon(other)
            with self._scope, self._context.closing.telling(self._close):
                await work()
            tasks.cancel_scope.cancel()

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
