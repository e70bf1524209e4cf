"""Slots that licenses share, as those of fetches: one license leaves some free, so that another finds one at once.

A license takes no further slot when it holds three for each that is free. A freed slot goes to the waiting license that
holds the fewest, and within it to the work that came first. Example: of 16 slots a license takes 12, and its thirteenth
fetch waits; a second license that asks for one slot has it at once.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio

HELD_PER_FREE = 3
"""Slots that one license may hold per free one, before it takes another."""
_SEVERAL = 2


class _Queued:
    """Work of a license that waits for a slot."""

    def __init__(self, license_id: str) -> None:
        self.license, self.granted = license_id, anyio.Event()


class FairSlots:
    """A number of slots that licenses share."""

    def __init__(self, most: int, licenses: Callable[[], int] = lambda: _SEVERAL) -> None:
        """Share `most` slots; `licenses` returns the number of licenses, and a single one uses all slots."""
        self._most, self._licenses = most, licenses
        self._held: Counter[str] = Counter()
        self._waiting: list[_Queued] = []

    @asynccontextmanager
    async def of(self, license_id: str) -> AsyncGenerator[None]:
        """Hold a slot for the duration of the context; wait for it first."""
        queued = _Queued(license_id)
        self._waiting.append(queued)
        self._serve()
        try:
            await queued.granted.wait()
            yield
        finally:
            if queued in self._waiting:
                self._waiting.remove(queued)
            else:
                self._held[license_id] -= 1
                self._serve()

    def _may_take(self, license_id: str) -> bool:
        free = self._most - self._held.total()
        return free > 0 if self._licenses() < _SEVERAL else self._held[license_id] < HELD_PER_FREE * free

    def _serve(self) -> None:
        while suitable := [one for one in self._waiting if self._may_take(one.license)]:
            first = min(suitable, key=lambda one: self._held[one.license])
            self._waiting.remove(first)
            self._held[first.license] += 1
            first.granted.set()
        self._held = +self._held  # without the licenses that hold none
