"""Runs jobs that outlive their requests, and resumes jobs that another process left unfinished.

One worker at a time holds the lock of a job, and renews it while it works. If the worker dies, the lock expires and
another worker resumes the job from its handle. A job that may have been sent, but has no handle, is failed and not sent
again.
"""

import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.abc
import msgspec
import structlog

from protocol.http.context import CurrentLicenses
from protocol.http.fair_slots import FairSlots
from protocol.model import (
    Engine,
    GatewayError,
    Job,
    JobError,
    JobKind,
    JobPage,
    JobState,
    RateLimited,
    Saturated,
)
from service.config.schema import JobSettings
from service.jobs.execution import JobExecution, pause, trimmed
from service.jobs.store import JobLock, JobStore
from transports.tasks import background_tasks, every

_CLOSE_SECONDS = 5.0
"""At shutdown, requests that are being sent get this long to return a handle."""
_FULL_SECONDS = 60.0
_BACKGROUND = (JobKind.VIDEO, JobKind.RESPONSE)
_PATIENCE_SECONDS = 1800.0
"""How long a job waits for a free account."""

_log = structlog.get_logger()

_UNKNOWN = JobError(
    code="upstream_outcome_unknown",
    message="The gateway was restarted while it sent this request; whether the upstream began is unknown. Try again.",
)


class Runner:
    """Implements `protocol.model.Jobs` with a job store and an engine."""

    def __init__(
        self,
        store: JobStore,
        engine: Engine,
        licenses: CurrentLicenses,
        settings: JobSettings,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        """Run jobs of current licenses, which share the slots, in `tasks`."""
        self._store, self._engine, self._licenses = store, engine, licenses
        self._clock, self._settings, self._tasks = store.clock, settings, tasks
        self._slots = FairSlots(settings.concurrency, lambda: licenses.count)
        self._held: dict[str, anyio.CancelScope | None] = {}
        """Lock holders of this process, and the scope to cancel if the lock is lost."""
        self._running: dict[str, anyio.CancelScope] = {}
        self._executions: dict[str, JobExecution] = {}
        self._closing = False
        self.ended: Callable[[Job], None] = lambda _: None
        """Is called before the end of a job is saved."""
        self.leaving: Callable[[], bool] = lambda: False
        """Whether the process is shutting down; it resumes no jobs then."""

    async def submit(self, job: Job) -> None:
        """Save a new job and run it, even if the client disconnects.

        Raises:
            RateLimited: the license has too many unfinished jobs.
            Saturated: the store failed.

        """
        limit = self._settings.unfinished_per_license
        if await self._store.unfinished(job.request.caller.owner, job.kind) >= limit:
            message = f"This license has {limit} unfinished jobs, the maximum. Wait until one completes."
            raise RateLimited(message, retry_after=_FULL_SECONDS, code="rate_limit_exceeded")
        lock = self._new_lock()
        await self._store.put(job, self._expires(job), lock)
        self._tasks.start_soon(self._work, job, lock.holder)

    async def save(self, job: Job) -> None:
        """Save the current state of a job without running it."""
        if job.over and job.completed is None:
            job = msgspec.structs.replace(job, completed=self._clock.wall())
        await self._store.put(trimmed(job), self._expires(job))

    async def find(self, owner: str, kind: JobKind, job_id: str) -> Job | None:
        """Return a license's job."""
        return await self._store.find(owner, kind, job_id)

    async def page(self, owner: str, kind: JobKind, page: JobPage) -> tuple[Sequence[Job], bool]:
        """Return some of a license's jobs, and whether there are more."""
        return await self._store.page(owner, kind, page)

    async def remove(self, owner: str, kind: JobKind, job_id: str) -> bool:
        """Remove a license's job, and cancel it if it runs, also at the upstream; return whether it existed."""
        job = await self._store.find(owner, kind, job_id)
        removed = await self._store.remove(owner, kind, job_id)
        if removed and job_id in self._running:
            self._running[job_id].cancel()
        if removed and job is not None and job.handle is not None and not job.over:
            self._tasks.start_soon(self._engine.cancel, job.handle)
        return removed

    @asynccontextmanager
    async def hold(self, job_id: str) -> AsyncGenerator[bool]:
        """Hold the lock of a job within the context; yields False if another worker holds it."""
        lock = self._new_lock()
        if await self._store.acquire(job_id, lock) is None:
            yield False
            return
        self._held[lock.holder] = None
        try:
            yield True
        finally:
            await self._release(lock.holder)

    async def resume_unfinished(self) -> None:
        """Resume unfinished jobs that no worker holds."""
        for job_id in [job_id for kind in _BACKGROUND for job_id in await self._store.idle(kind)]:
            lock = self._new_lock()
            job = await self._store.acquire(job_id, lock)
            if job is None:
                continue
            if not job.over and await self._licenses.current(job.request.caller.owner) is None:
                await self._store.release(lock.holder)  # its license has ended, so it stays as it is
                continue
            if not job.over and (job.state is JobState.QUEUED or job.handle is not None):
                _log.info("job_resumed", job=job.id, started=job.handle is not None)
                self._tasks.start_soon(self._work, job, lock.holder)
                continue
            if not job.over:
                await self._change(lock.holder, self._failed(job, _UNKNOWN))
            await self._store.release(lock.holder)

    async def run(self) -> None:
        """Renew locks and resume unfinished jobs periodically, until cancelled."""
        await every(self._settings.lock_ttl_seconds / 4, self._renew_and_resume, self._clock)

    async def _renew_and_resume(self) -> None:
        try:
            held = frozenset(self._held)
            kept = await self._store.renew(tuple(held), self._settings.lock_ttl_seconds)
            for scope in map(self._held.get, held - kept):
                if scope is not None:
                    scope.cancel()
            if not self.leaving():
                await self.resume_unfinished()
        except GatewayError as error:
            _log.warning("jobs_poll_failed", code=error.code)

    async def close(self) -> None:
        """Start nothing more, and wait briefly for requests that are being sent, which would be lost otherwise."""
        self._closing = True
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            for execution in tuple(self._executions.values()):
                await execution.settled()

    async def _work(self, job: Job, holder: str) -> None:
        """Run one job until it ends, or its license or the process does."""
        ended = self._licenses.end_of(job.request.caller.owner)
        with anyio.CancelScope() as scope:
            ended.add_callback(scope.cancel)
            self._held[holder] = self._running[job.id] = scope
            try:
                async with self._slots.of(job.request.caller.id):
                    await self._attempts(job, holder)
            except Exception:  # noqa: BLE001 -- a bug fails the job, not the gateway
                _log.exception("job_failed", job=job.id)
                await self._fail(holder, job, JobError(code="internal_error", message="The gateway failed."))
            finally:
                ended.remove_callback(scope.cancel)
                self._running.pop(job.id, None)
                self._executions.pop(holder, None)
                await self._release(holder)

    async def _attempts(self, job: Job, holder: str) -> None:
        execution = self._executions[holder] = JobExecution(job, partial(self._note, holder))
        until = self._clock.monotonic() + _PATIENCE_SECONDS
        while not self._closing:
            try:
                reply = await execution.run(self._engine)
                await self._note(holder, self._done(execution.job, state=JobState.COMPLETED, reply=reply))
            except GatewayError as error:
                seconds = pause(error, begun=execution.job.handle is not None)
                if seconds is None or self._clock.monotonic() + seconds >= until:
                    _log.warning("job_failed", job=job.id, license=job.request.caller.id, code=error.code)
                    await self._fail(holder, execution.job, JobError(code=error.code, message=error.message))
                    return
                await self._clock.sleep(seconds)
            else:
                seconds = round(self._clock.wall() - job.created, 3)
                _log.info(
                    "job_completed",
                    job=job.id,
                    license=job.request.caller.id,
                    model=job.model,
                    upstream_model=execution.job.upstream_model or None,
                    seconds=seconds,
                )
                return

    async def _note(self, holder: str, job: Job) -> None:
        """Save a job's progress; stop if this worker no longer holds it."""
        if not await self._change(holder, job):
            self._running[job.id].cancel()
            await anyio.lowlevel.checkpoint()

    async def _fail(self, holder: str, job: Job, error: JobError) -> None:
        """Save a job's failure; if the store fails too, the worker that resumes the job fails it later."""
        try:
            await self._change(holder, self._failed(job, error))
        except GatewayError as failure:
            _log.warning("job_write_failed", job=job.id, code=failure.code)

    def _new_lock(self) -> JobLock:
        return JobLock(secrets.token_hex(8), self._settings.lock_ttl_seconds)

    def _done(self, job: Job, **changes: object) -> Job:
        return msgspec.structs.replace(trimmed(job), completed=self._clock.wall(), **changes)

    def _failed(self, job: Job, error: JobError) -> Job:
        return self._done(job, state=JobState.FAILED, error=error)

    async def _change(self, holder: str, job: Job) -> bool:
        if job.over:
            self.ended(job)
        expires = self._expires(job)
        return await self._store.change(msgspec.structs.replace(job, expires=expires), expires, holder)

    def _expires(self, job: Job) -> float:
        return (job.completed or job.created) + self._settings.retention_seconds

    async def _release(self, holder: str) -> None:
        self._held.pop(holder, None)
        with anyio.CancelScope(shield=True):
            try:
                await self._store.release(holder)
            except Saturated:
                _log.warning("job_lock_release_failed")


@asynccontextmanager
async def open_jobs(
    store: JobStore, engine: Engine, licenses: CurrentLicenses, settings: JobSettings
) -> AsyncGenerator[Runner]:
    """Yield a job runner and stop it afterwards; unfinished jobs stay in the store for another process."""
    async with background_tasks() as tasks:
        runner = Runner(store, engine, licenses, settings, tasks)
        tasks.start_soon(runner.run)
        try:
            yield runner
        finally:
            await runner.close()
