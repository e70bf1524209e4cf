"""The moment at which the process gives up on what is still open."""

from collections.abc import Callable

import anyio


class ShutdownEvent:
    """Comes once, or never; whoever is open is told at once, without a task of its own to wait for it."""

    def __init__(self) -> None:
        """Begin before it. Call it inside the event loop."""
        self._event = anyio.Event()
        self._open: set[Callable[[], None]] = set()

    def is_set(self) -> bool:
        """Say whether it has come."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Return when it has come."""
        await self._event.wait()

    def set(self) -> None:
        """Let it come."""
        self._event.set()
        for tell in tuple(self._open):
            tell()

    def add_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` when it comes, or at once if it has come, until `forget`."""
        self._open.add(callback)
        if self.is_set():
            callback()

    def remove_callback(self, callback: Callable[[], None]) -> None:
        """Call a callback no more."""
        self._open.discard(callback)
