"""An event with callbacks that reports the steps of a shutdown."""

from collections.abc import Callable

import anyio


class ShutdownEvent:
    """An event that also calls callbacks when it is set, so that requests need no waiting task."""

    def __init__(self) -> None:
        """Start unset. Call this inside the event loop."""
        self._event = anyio.Event()
        self._open: set[Callable[[], None]] = set()

    def is_set(self) -> bool:
        """Return whether the event is set."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the event is set."""
        await self._event.wait()

    def set(self) -> None:
        """Set the event and call the callbacks."""
        self._event.set()
        for tell in tuple(self._open):
            tell()

    def add_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the event is set, or now if it is."""
        self._open.add(callback)
        if self.is_set():
            callback()

    def remove_callback(self, callback: Callable[[], None]) -> None:
        """Remove a callback."""
        self._open.discard(callback)
