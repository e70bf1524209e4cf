"""Receives the messages of a request and drops the part of its body that no handler reads.

hypercorn passes a body on through a short queue, and puts the disconnect into the same queue when it closes a
connection. If the queue is full and the app no longer reads it, hypercorn waits forever and never frees the
connection. So messages that still arrive are dropped while the response ends.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from protocol.http.body import ENDED

_AFTER_SECONDS = 0.05
"""How long to drop messages after the response has ended: one more may be on its way into the queue."""


class Incoming:
    """Receives a request's messages."""

    def __init__(self, scope: Any, receive: Callable[[], Awaitable[Any]]) -> None:
        """Receive from `receive`."""
        self._scope, self._receive = scope, receive
        headers = dict(scope["headers"])
        self.ended = b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0"
        """Whether the whole body has been received."""

    async def receive(self) -> Any:
        """Return the next message."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.ended = self._scope[ENDED] = True
        return message

    async def end(self, send: Callable[[Any], Awaitable[None]], message: Any) -> None:
        """Send a response's last message; drop what still arrives of the request.

        Raises:
            OSError: the connection is gone.

        """
        failure: OSError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._drop)
            try:
                await send(message)
            except OSError as error:
                failure = error  # raised outside of the group, which would wrap it
            tasks.cancel_scope.deadline = anyio.current_time() + _AFTER_SECONDS
        if failure is not None:
            raise failure

    async def _drop(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
