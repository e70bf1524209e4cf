"""Does jobs that outlive their requests, and goes on with those that a process before this one left unfinished.

A job is held by one worker at a time, for as long as it renews its hold; a worker that dies lets go by dying, and
another goes on from the job's handle. What may have been sent without anybody knowing where is not sent again.
"""

import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.abc
import msgspec
import structlog

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
from service.config.schema import Jobs as JobSettings
from service.jobs.execution import JobExecution, pause, trimmed
from service.jobs.store import JobLock, JobStore
from transports.clock import Clock
from transports.tasks import background_tasks

_CLOSE_SECONDS = 5.0
"""What is just being asked is given so long to say where it is, when the process ends."""
_FULL_SECONDS = 60.0
_PATIENCE_SECONDS = 1800.0
"""A job waits so long for an account to be free."""

_log = structlog.get_logger()

_UNKNOWN = JobError(
    code="upstream_outcome_unknown",
    message="The gateway was restarted while it asked for this; whether the upstream began is not known.",
)


class Runner:
    """Implements `protocol.model.Jobs` over a ledger and an engine."""

    def __init__(
        self,
        ledger: JobStore,
        engine: Engine,
        clock: Clock,
        settings: JobSettings,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        """Run jobs in `tasks`."""
        self._ledger, self._engine, self._clock, self._settings, self._tasks = ledger, engine, clock, settings, tasks
        self._slots = anyio.CapacityLimiter(settings.at_once)
        self._held: dict[str, anyio.CancelScope | None] = {}
        """The holders of this process, and what to cancel where a hold is lost."""
        self._running: dict[str, anyio.CancelScope] = {}
        self._courses: dict[str, JobExecution] = {}
        self._closing = False
        self.leaving: Callable[[], bool] = lambda: False
        """Whether the process is about to end: nothing is adopted then."""

    async def submit(self, job: Job) -> None:
        """Keep a new job and do it, whoever stays or leaves.

        Raises:
            RateLimited: the license has as many unfinished jobs as it may.
            Saturated: the store is out of order.

        """
        if await self._ledger.unfinished(job.request.caller.id, job.kind) >= self._settings.unfinished:
            message = f"This license has {self._settings.unfinished} unfinished jobs, as many as it may."
            raise RateLimited(message, retry_after=_FULL_SECONDS, code="rate_limit_exceeded")
        holder = _holder()
        await self._ledger.put(job, self._expires(job), JobLock(holder, self._settings.hold_seconds))
        self._tasks.start_soon(self._work, job, holder)

    async def keep(self, job: Job) -> None:
        """Keep a job as it is now; it is done by whoever holds it."""
        if job.over and job.completed is None:
            job = msgspec.structs.replace(job, completed=self._clock.wall())
        await self._ledger.put(trimmed(job), self._expires(job))

    async def find(self, license_id: str, kind: JobKind, job_id: str) -> Job | None:
        """Return a license's job."""
        return await self._ledger.find(license_id, kind, job_id)

    async def page(self, license_id: str, kind: JobKind, page: JobPage) -> tuple[Sequence[Job], bool]:
        """Return some of a license's jobs, and whether there are more."""
        return await self._ledger.page(license_id, kind, page)

    async def remove(self, license_id: str, kind: JobKind, job_id: str) -> bool:
        """Forget a license's job, and stop it; say whether there was one."""
        removed = await self._ledger.remove(license_id, kind, job_id)
        if removed and job_id in self._running:
            self._running[job_id].cancel()
        return removed

    @asynccontextmanager
    async def hold(self, job_id: str) -> AsyncGenerator[bool]:
        """Be the only one at work on a job for as long as the context lasts; False: somebody else is."""
        holder = _holder()
        if await self._ledger.acquire(job_id, JobLock(holder, self._settings.hold_seconds)) is None:
            yield False
            return
        self._held[holder] = None
        try:
            yield True
        finally:
            await self._let_go(holder)

    async def adopt(self) -> None:
        """Go on with what nobody is at work on."""
        for job_id in await self._ledger.idle(JobKind.VIDEO):
            holder = _holder()
            job = await self._ledger.acquire(job_id, JobLock(holder, self._settings.hold_seconds))
            if job is None:
                continue
            if not job.over and (job.state is JobState.QUEUED or job.handle is not None):
                _log.info("job_adopted", job=job.id, begun=job.handle is not None)
                self._tasks.start_soon(self._work, job, holder)
                continue
            if not job.over:
                await self._change(holder, self._failed(job, _UNKNOWN))
            await self._ledger.release(holder)

    async def tend(self) -> None:
        """Renew holds, and look for jobs to adopt, for ever."""
        while True:
            try:
                held = frozenset(self._held)
                kept = await self._ledger.renew(tuple(held), self._settings.hold_seconds)
                for scope in map(self._held.get, held - kept):
                    if scope is not None:
                        scope.cancel()
                if not self.leaving():
                    await self.adopt()
            except GatewayError as error:
                _log.warning("jobs_not_tended", code=error.code)
            await self._clock.sleep(self._settings.hold_seconds / 4)

    async def close(self) -> None:
        """Begin nothing more, and wait a little for what is just being asked: it would be lost otherwise."""
        self._closing = True
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            for course in tuple(self._courses.values()):
                await course.settled()

    async def _work(self, job: Job, holder: str) -> None:
        """Do one job, to its end or to this process's."""
        with anyio.CancelScope() as scope:
            self._held[holder] = self._running[job.id] = scope
            try:
                async with self._slots:
                    await self._attempts(job, holder)
            except Exception:  # noqa: BLE001 -- a bug of ours is the job's end, not the gateway's
                _log.exception("job_failed", job=job.id)
                await self._fail(holder, job, JobError(code="internal_error", message="The gateway failed."))
            finally:
                self._running.pop(job.id, None)
                self._courses.pop(holder, None)
                await self._let_go(holder)

    async def _attempts(self, job: Job, holder: str) -> None:
        course = self._courses[holder] = JobExecution(job, partial(self._note, holder))
        until = self._clock.monotonic() + _PATIENCE_SECONDS
        while not self._closing:
            try:
                reply = await course.run(self._engine)
                await self._note(holder, self._done(course.job, state=JobState.COMPLETED, reply=reply))
            except GatewayError as error:
                seconds = pause(error, begun=course.job.handle is not None)
                if seconds is None or self._clock.monotonic() + seconds >= until:
                    _log.warning("job_failed", job=job.id, license=job.request.caller.id, code=error.code)
                    await self._fail(holder, course.job, JobError(code=error.code, message=error.message))
                    return
                await self._clock.sleep(seconds)
            else:
                seconds = round(self._clock.wall() - job.created, 3)
                _log.info(
                    "job_done",
                    job=job.id,
                    license=job.request.caller.id,
                    model=job.model,
                    upstream_model=course.job.upstream_model or None,
                    seconds=seconds,
                )
                return

    async def _note(self, holder: str, job: Job) -> None:
        """Keep how far a job is; where it is not this worker's any more, stop."""
        if not await self._change(holder, job):
            self._running[job.id].cancel()
            await anyio.lowlevel.checkpoint()

    async def _fail(self, holder: str, job: Job, error: JobError) -> None:
        """Keep how a job failed; where the store does not work just then, whoever adopts the job finds out."""
        try:
            await self._change(holder, self._failed(job, error))
        except GatewayError as failure:
            _log.warning("job_not_kept", job=job.id, code=failure.code)

    def _done(self, job: Job, **changes: object) -> Job:
        return msgspec.structs.replace(trimmed(job), completed=self._clock.wall(), **changes)

    def _failed(self, job: Job, error: JobError) -> Job:
        return self._done(job, state=JobState.FAILED, error=error)

    async def _change(self, holder: str, job: Job) -> bool:
        expires = self._expires(job)
        return await self._ledger.change(msgspec.structs.replace(job, expires=expires), expires, holder)

    def _expires(self, job: Job) -> float:
        return (job.completed or job.created) + self._settings.keep_seconds

    async def _let_go(self, holder: str) -> None:
        self._held.pop(holder, None)
        with anyio.CancelScope(shield=True):
            try:
                await self._ledger.release(holder)
            except Saturated:
                _log.warning("hold_not_released")


def _holder() -> str:
    return secrets.token_hex(8)


@asynccontextmanager
async def open_jobs(ledger: JobStore, engine: Engine, clock: Clock, settings: JobSettings) -> AsyncGenerator[Runner]:
    """Yield the jobs' runner; leaving stops it: what is unfinished keeps its record, for whoever comes next."""
    async with background_tasks() as tasks:
        runner = Runner(ledger, engine, clock, settings, tasks)
        tasks.start_soon(runner.tend)
        try:
            yield runner
        finally:
            await runner.close()
