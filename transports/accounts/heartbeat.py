"""Heartbeat of this process: a record of the store with its load, which other processes and operators read."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import structlog

from transports.accounts.records import AccountLoad, ProcessRecord
from transports.clock import Clock
from transports.store import Records
from transports.store.port import PROCESSES
from transports.tasks import background_tasks_with_final, every

_LOOK_SECONDS = 2.0
_LONGEST_SILENCE = 4.0
"""Longest interval between two heartbeats."""
_LIVES_SECONDS = 15.0
_LAST_SECONDS = 1.0

_log = structlog.get_logger()


class Heartbeat:
    """Announces this process and counts the others."""

    def __init__(self, records: Records, clock: Clock, process_id: str, *, least: int = 1) -> None:
        """Announce this process by its id; assume at least `least` processes, even if no other one is visible."""
        self._records, self._clock, self._least = records, clock, least
        self._process_id = process_id
        self._started = clock.wall()
        self._accounts: list[Callable[[], Mapping[str, AccountLoad]]] = []
        self._count = 1
        self._last_record: tuple[float, ProcessRecord] | None = None

    def processes(self) -> int:
        """Return the number of processes, as of the last heartbeat."""
        return max(self._least, self._count)

    def add_accounts(self, accounts: Callable[[], Mapping[str, AccountLoad]]) -> None:
        """Announce the load of these accounts too."""
        self._accounts.append(accounts)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Send heartbeats for the duration of the context."""
        beats = partial(every, _LOOK_SECONDS, self._try_beat, self._clock)
        remove = partial(self._records.remove, PROCESSES, self._process_id)
        async with background_tasks_with_final((beats,), remove, _LAST_SECONDS, "heartbeat_removal_failed"):
            yield

    async def beat(self) -> None:
        """Write this process's record if it has changed or is due, and count the processes."""
        accounts = {name: load for loads in self._accounts for name, load in loads().items()}
        record = ProcessRecord(id=self._process_id, started=self._started, accounts=accounts)
        now = self._clock.monotonic()
        if (
            self._last_record is not None
            and self._last_record[1] == record
            and now - self._last_record[0] < _LONGEST_SILENCE
        ):
            return
        await self._records.put(PROCESSES, self._process_id, msgspec.json.encode(record), seconds=_LIVES_SECONDS)
        self._last_record = (now, record)
        self._count = max(1, len(await self._records.keys(PROCESSES)))

    async def _try_beat(self) -> None:
        try:
            await self.beat()
        except OSError:
            _log.debug("heartbeat_write_failed")
