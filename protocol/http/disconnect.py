"""Runs a handler until it finishes, its client disconnects or the process shuts down.

The server reports a disconnect by a callback, in an ASGI extension (`CLIENT`): a task that waits for it in `receive`
would cost each request 10 µs.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import anyio

from protocol.http.context import context_of

CLIENT = "gemini_gateway.client"
"""The extension's name in a scope; its value is a `Client`."""

ResultT = TypeVar("ResultT")


class Client(Protocol):
    """The client at the other end of a request."""

    def set_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the client disconnects, or now if it has. There is one callback at a time."""
        ...

    def clear_callback(self) -> None:
        """Remove the callback."""
        ...


class DisconnectWatcher:
    """Watches one request: cancels its work when the client disconnects or shutdown closes open requests."""

    def __init__(self, scope: Any) -> None:
        """Watch the request of an ASGI scope, whose body has been read."""
        self._client: Client = scope["extensions"][CLIENT]
        self._closing = context_of(scope).closing
        self._scope = anyio.CancelScope()
        self.finished = False
        """Set before the last bytes of the response, after which the server reports a disconnect anyway."""
        self.gone = False
        """Whether the client disconnected before the end."""
        self.closed = False
        """Whether shutdown cut the work short."""

    async def run(self, work: Callable[[], Awaitable[ResultT]]) -> ResultT | None:
        """Run the work and return its result; None: it was cancelled, see `gone` and `closed`."""
        self._closing.add_callback(self._close)
        self._client.set_callback(self._leave)
        try:
            with self._scope:
                return await work()
            return None
        finally:
            self._client.clear_callback()
            self._closing.remove_callback(self._close)

    def _leave(self) -> None:
        if not self.finished:
            self.gone = True
            self._scope.cancel()

    def _close(self) -> None:
        if not self.finished:
            self.closed = True
            self._scope.cancel()
