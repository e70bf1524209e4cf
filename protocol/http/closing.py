"""The moment at which the process gives up on what is still open."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

import anyio


class Closing:
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

    @contextmanager
    def telling(self, tell: Callable[[], None]) -> Generator[None]:
        """Call `tell` when it comes, or has come, within the context."""
        self._open.add(tell)
        try:
            if self.is_set():
                tell()
            yield
        finally:
            self._open.discard(tell)
