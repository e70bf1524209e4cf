"""Changes of conversations that are written together, a moment after they were made.

A single process need not write each change at once: it answers from memory until the change is written. `WriteBehind`
holds the last change of each name for up to `_HOLD_SECONDS`. A conversation that is kept and continued within that time
is never written.

Example: `put("a", 1)`, `put("b", 2)` and `cancel("a")` within 50 ms become one call of the store that puts `b`.

If the process is killed, the changes of the last moment are lost: such a conversation is not continued, and stays at
the upstream. At a normal shutdown all changes are written. While the store is down, changes are held until it is back.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import msgspec
import structlog

from transports.clock import Clock
from transports.store import Change, Records
from transports.store.port import CONVERSATIONS
from transports.tasks import Trigger, background_tasks_with_final

_HOLD_SECONDS = 0.05
_LAST_SECONDS = 2.0
_MOST_AT_ONCE = 200

_log = structlog.get_logger()


class PendingChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change that is not written yet."""

    value: bytes | None
    """None: a removal."""
    expected: int
    """The version of the record that it replaces; 0: none is known."""
    until: float = 0.0
    """When the record expires, by the monotonic clock."""


Written = Callable[[str, PendingChange, int | None], Awaitable[None]]


class WriteBehind:
    """Pending changes, by name."""

    def __init__(self, records: Records, clock: Clock, written: Written) -> None:
        """Call `written` for each change with the version that was put: 0 for a removal, None if it did not apply."""
        self._records, self._clock, self._written = records, clock, written
        self._pending: dict[str, PendingChange] = {}
        self._writing: dict[str, PendingChange] = {}
        self._changes, self._idle = Trigger(), anyio.Event()
        self.works = True
        """False while the store is down."""
        self.rounds = 0
        """Number of batches begun; what was read before the last one may be outdated."""

    def find(self, name: str) -> PendingChange | None:
        """Return the pending change of a name."""
        return self._pending.get(name) or self._writing.get(name)

    async def settled(self, name: str) -> None:
        """Wait while the change of a name is being written."""
        while name in self._writing:
            await self._idle.wait()

    def put(self, name: str, value: bytes, until: float, *, expected: int = 0) -> None:
        """Put a record; one that is pending is replaced. The name must be settled."""
        before = self._pending.get(name)
        if before is not None:
            expected = before.expected
        self._add(name, PendingChange(value=value, expected=expected, until=until))

    def remove(self, name: str, expected: int) -> None:
        """Remove a record of this version. The name must be settled."""
        self._add(name, PendingChange(value=None, expected=expected))

    def cancel(self, name: str) -> None:
        """Undo a pending put: its record is removed, if there was one before. The name must be settled."""
        pending = self._pending.pop(name)
        if pending.expected:
            self.remove(name, pending.expected)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Write pending changes while the context lasts, and the rest at its end."""
        writes = partial(self._changes.run, self._write_all, self._failed, self._clock, delay=_HOLD_SECONDS)
        async with background_tasks_with_final((writes,), self._write_all, _LAST_SECONDS, "conversations_write_failed"):
            yield

    def _add(self, name: str, pending: PendingChange) -> None:
        self._pending[name] = pending
        self._changes.set()

    def _failed(self) -> None:
        self.works = False
        _log.warning("conversations_write_failed")

    async def _write_all(self) -> None:
        while self._pending:
            batch = dict(list(self._pending.items())[:_MOST_AT_ONCE])
            for name in batch:
                del self._pending[name]
            self._writing, self._idle = batch, anyio.Event()
            self.rounds += 1
            try:
                now = self._clock.monotonic()
                changes = [
                    Change(
                        collection=CONVERSATIONS,
                        key=name,
                        value=pending.value,
                        expected=pending.expected,
                        seconds=pending.until - now if pending.value is not None else None,
                    )
                    for name, pending in batch.items()
                ]
                versions = await self._records.write(changes)
                for (name, pending), version in zip(batch.items(), versions, strict=True):
                    await self._written(name, pending, version)
                self._writing = {}
            finally:  # what may not have been written is written again; no other process changes it meanwhile
                self._pending = self._writing | self._pending
                self._writing = {}
                self._idle.set()
        self.works = True
