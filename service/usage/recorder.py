"""Records the usage of finished requests and jobs: in the journal at once, in the ledger once a second."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from protocol.http.context import RequestContext
from protocol.model import Job
from service.usage.journal import Journal
from service.usage.ledger import UsageLedger
from service.usage.usage_record import LINE, UsageRecord, decode_lines, record_of_job, record_of_request
from transports.clock import Clock
from transports.tasks import background_tasks_with_final, every

_SECONDS = 1.0
_ADOPT_EVERY = 10
"""Flushes between two looks for journals of dead processes, if this process has recorded nothing."""
_PRUNE_EVERY = 3600
_BATCH = 500
_LAST_SECONDS = 5.0

_log = structlog.get_logger()


class UsageRecorder:
    """Records usage; `request` and `job` return at once, and never fail."""

    def __init__(self, journal: Journal, ledger: UsageLedger, clock: Clock) -> None:
        """Write to `journal`, and move its records to `ledger`."""
        self._journal, self._ledger, self._clock = journal, ledger, clock
        self._written = True  # of a dead process, perhaps
        self._flushes = 0
        self._failing = False
        self._alone = anyio.Lock()

    def request(self, context: RequestContext, status: int) -> None:
        """Record a request that is about to end."""
        record = record_of_request(context, status, self._clock.wall())
        if record is not None:
            self._write(record)

    def job(self, job: Job) -> None:
        """Record a job that has ended, before its end is saved: another process that ends it again counts nothing."""
        self._write(record_of_job(job, self._clock.wall()))

    def _write(self, record: UsageRecord) -> None:
        self._journal.write(LINE.encode(record))
        self._written = True

    async def run(self) -> None:
        """Move records to the ledger periodically, until cancelled."""
        await every(_SECONDS, self._flush_and_prune, self._clock)

    async def flush(self) -> None:
        """Move all records to the ledger.

        Raises:
            OSError: the ledger failed; the journal keeps the records.

        """
        async with self._alone:
            self._written = False
            self._journal.close_file()
            lines = self._journal.take_memory()
            try:
                await self._append(lines)
            except BaseException:
                self._journal.put_back(lines)
                raise
            for path in await anyio.to_thread.run_sync(self._journal.files):
                await self._move(path)

    async def _move(self, path: Path) -> None:
        """Move the records of a journal file to the ledger, unless a process uses it."""
        taken = await anyio.to_thread.run_sync(self._journal.take, path)
        if taken is None:
            return
        try:
            await self._append(taken.lines)
        except OSError:
            await anyio.to_thread.run_sync(taken.sync)
            taken.leave()
            raise
        except BaseException:
            taken.leave()
            raise
        taken.delete()

    async def _append(self, lines: bytes) -> None:
        records, damaged = decode_lines(lines)
        if damaged:
            _log.warning("usage_lines_damaged", lines=damaged)
        for start in range(0, len(records), _BATCH):
            await self._ledger.append(records[start : start + _BATCH])

    async def _flush_and_prune(self) -> None:
        due = self._flushes % _PRUNE_EVERY == 0
        look = self._written or self._flushes % _ADOPT_EVERY == 0
        self._flushes += 1
        try:
            if look:
                await self.flush()
            if due:
                await self._ledger.prune(self._clock.wall())
        except OSError as error:
            self._written = True
            if not self._failing:
                _log.warning("usage_ledger_failed", error=error.strerror or str(error))
            self._failing = True
        else:
            if look:
                self._failing = False


@asynccontextmanager
async def open_recorder(ledger: UsageLedger, folder: Path | None, clock: Clock) -> AsyncGenerator[UsageRecorder]:
    """Yield a recorder with its journal in `folder`; at the end all records are moved to the ledger."""
    recorder = UsageRecorder(Journal(folder), ledger, clock)
    async with background_tasks_with_final([recorder.run], recorder.flush, _LAST_SECONDS, "usage_flush_failed"):
        yield recorder
