"""Cancels the work on a request when its client disconnects or the process shuts down.

The server reports a disconnect by a callback, in an ASGI extension (`CLIENT`): a task that waits for it in `receive`
would cost each request 10 µs. Shutdown, too, calls callbacks.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

import anyio

CLIENT = "gemini_gateway.client"
"""The extension's name in a scope; its value is a `Client`."""


class Client(Protocol):
    """The client at the other end of a request."""

    def set_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the client disconnects, or now if it has. There is one callback at a time."""
        ...

    def clear_callback(self) -> None:
        """Remove the callback."""
        ...


class ShutdownEvent:
    """An event that also calls callbacks when it is set, so that requests need no waiting task."""

    def __init__(self) -> None:
        """Start unset. Call this inside the event loop."""
        self._event = anyio.Event()
        self._callbacks: set[Callable[[], None]] = set()

    def is_set(self) -> bool:
        """Return whether the event is set."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the event is set."""
        await self._event.wait()

    def set(self) -> None:
        """Set the event and call the callbacks."""
        self._event.set()
        for callback in tuple(self._callbacks):
            callback()

    def add_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the event is set, or now if it is."""
        self._callbacks.add(callback)
        if self.is_set():
            callback()

    def remove_callback(self, callback: Callable[[], None]) -> None:
        """Remove a callback."""
        self._callbacks.discard(callback)


class DisconnectWatcher:
    """A context whose work is cancelled when the client disconnects or shutdown closes open requests."""

    def __init__(self, scope: Any, closing: ShutdownEvent) -> None:
        """Watch the request of an ASGI scope, whose body has been read; `closing` is set by shutdown."""
        self._client: Client = scope["extensions"][CLIENT]
        self._closing = closing
        self._scope = anyio.CancelScope()
        self.finished = False
        """Set before the last bytes of the response, after which the server reports a disconnect anyway."""
        self.gone = False
        """Whether the client disconnected before the end."""
        self.closed = False
        """Whether shutdown cut the work short."""

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._closing.add_callback(self._on_shutdown)
        self._client.set_callback(self._on_disconnect)
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Stop watching; the work's cancellation ends here, see `gone` and `closed`."""
        try:
            return self._scope.__exit__(kind, error, traceback)
        finally:
            self._client.clear_callback()
            self._closing.remove_callback(self._on_shutdown)

    def _on_disconnect(self) -> None:
        if not self.finished:
            self.gone = True
            self._scope.cancel()

    def _on_shutdown(self) -> None:
        if not self.finished:
            self.closed = True
            self._scope.cancel()
