"""Cancels the work on a request when its client disconnects, the process shuts down, or its license ends.

The server reports a disconnect by a callback, in an ASGI extension (`CLIENT`): a task that waits for it in `receive`
would cost each request 10 µs. The events of shutdown and of licenses, too, call callbacks.
"""

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import anyio

from protocol.model import GatewayError

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


class CallbackEvent:
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


class Ending(NamedTuple):
    """An event that ends open requests, and the error that their clients get."""

    event: CallbackEvent
    error: Callable[[], GatewayError]


class EndingWatcher:
    """A context whose work is cancelled when one of the request's endings occurs."""

    def __init__(self, endings: Sequence[Ending]) -> None:
        """Watch these endings."""
        self._endings = [(ending.event, partial(self._end, ending.error)) for ending in endings]
        self._scope = anyio.CancelScope()
        self.finished = False
        """Set before the last bytes of the response, after which nothing is cut short."""
        self.ended: GatewayError | None = None
        """The error of the ending that cut the work short."""

    def __enter__(self) -> Self:
        """Begin to watch."""
        for event, callback in self._endings:
            event.add_callback(callback)
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Stop watching; the work's cancellation ends here, see `ended`."""
        try:
            return self._scope.__exit__(kind, error, traceback)
        finally:
            for event, callback in self._endings:
                event.remove_callback(callback)
            self._endings.clear()  # the callbacks refer to this object: only the garbage collector would free the cycle

    def _end(self, error: Callable[[], GatewayError]) -> None:
        if not self.finished:
            self.ended = error()
            self._scope.cancel()


class DisconnectWatcher(EndingWatcher):
    """A context whose work is also cancelled when the client disconnects."""

    def __init__(self, scope: Any, endings: Sequence[Ending]) -> None:
        """Watch the request of an ASGI scope, whose body has been read."""
        super().__init__(endings)
        self._client: Client = scope["extensions"][CLIENT]
        self.gone = False
        """Whether the client disconnected before the end."""

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._client.set_callback(self._on_disconnect)
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Stop watching; the work's cancellation ends here, see `gone` and `ended`."""
        try:
            return super().__exit__(kind, error, traceback)
        finally:
            self._client.clear_callback()

    def _on_disconnect(self) -> None:
        if not self.finished:
            self.gone = True
            self._scope.cancel()
