"""What comes of a request, and the part of its body that no handler reads.

hypercorn hands a body on through a short queue, and puts the disconnect into the same queue when it closes a
connection. Where nothing takes from a full queue any more, it waits for room for ever: the connection, and what was
read of it, would never be freed. So what still comes is taken and dropped while the answer ends.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from protocol.http.body import ENDED

_AFTER_SECONDS = 0.05
"""One more message may be on its way into the queue when the answer has ended."""


class Incoming:
    """Receives a request's messages."""

    def __init__(self, scope: Any, receive: Callable[[], Awaitable[Any]]) -> None:
        """Receive from `receive`."""
        self._scope, self._receive = scope, receive
        headers = dict(scope["headers"])
        self.ended = b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0"
        """Nothing more of the body comes."""

    async def receive(self) -> Any:
        """Return the next message."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.ended = self._scope[ENDED] = True
        return message

    async def end(self, send: Callable[[Any], Awaitable[None]], message: Any) -> None:
        """Send an answer's last message; drop what still comes of the request.

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
