"""Opens the exchange of an answer, with its stop sequences; stores it as a job if it takes minutes.

Clients of every dialect can fetch a stored answer later by its id, at `/v1/chat/completions/{id}`. While a client waits
for the answer, the job is locked, so that no other request resumes it at the same time.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import msgspec
import structlog

from protocol.http.context import RequestContext
from protocol.http.stop import Bounds, bounded
from protocol.model import (
    Engine,
    Event,
    Exchange,
    Finish,
    GatewayError,
    GenerationRequest,
    Job,
    JobKind,
    Jobs,
    JobState,
    PutBack,
    Waiting,
    WorkStarted,
    fold,
    peek,
)

_BOUNDS = "bounds"

_log = structlog.get_logger()


def job_of(identity: str, model: str, created: float, request: GenerationRequest, bounds: Bounds) -> Job:
    """Return the job of a completion."""
    return Job(
        id=identity,
        kind=JobKind.CHAT,
        request=request,
        model=model,
        created=created,
        details={_BOUNDS: msgspec.json.encode(bounds).decode()},
    )


def opened(
    engine: Engine, context: RequestContext, request: GenerationRequest, bounds: Bounds, identity: str
) -> AbstractAsyncContextManager[Exchange]:
    """Return the exchange of a request, not open yet; an answer that takes minutes is stored under its id."""
    selection = request.selection
    if not selection.capability.long_running:
        return bounded(engine, request, bounds)
    return open_stored(engine, context.jobs, job_of(identity, selection.id, context.created, request, bounds))


@asynccontextmanager
async def open_stored(engine: Engine, jobs: Jobs, job: Job, *, held: bool = False) -> AsyncGenerator[Exchange]:
    """Open the exchange of a job and store its progress; `held`: the caller has locked the job already."""
    bounds = msgspec.json.decode(job.details[_BOUNDS], type=Bounds)
    async with (
        bounded(engine, job.request, bounds) as exchange,
        store_progress(exchange, jobs, job, held=held) as kept,
    ):
        yield kept


class _JobRecorder:
    """Stores the job of an exchange while its events arrive."""

    def __init__(self, exchange: Exchange, jobs: Jobs, job: Job, hold: AsyncExitStack | None) -> None:
        """Lock the job on `hold` once it is stored; None if it is locked already."""
        self._exchange, self._jobs, self._job, self._hold = exchange, jobs, job, hold
        self._seen: list[Event] = []

    async def events(self) -> AsyncGenerator[Event]:
        """Yield the events of the exchange; the job is stored before each event is yielded."""
        async for event in self._exchange.events:
            if not isinstance(event, Waiting | WorkStarted):
                self._seen.append(event)
            if isinstance(event, WorkStarted):
                await self._keep(state=JobState.IN_PROGRESS, handle=event.handle)
                hold, self._hold = self._hold, None
                if hold is not None:
                    try:
                        await hold.enter_async_context(self._jobs.hold(self._job.id))
                    except GatewayError as error:
                        self._log_failure(error)
            elif isinstance(event, Finish) and self._job.handle is not None:
                await self._keep(state=JobState.COMPLETED, reply=await fold(_each(self._seen)))
            yield event

    async def _keep(self, **changes: object) -> None:
        model = self._exchange.served.model or self._job.upstream_model
        self._job = msgspec.structs.replace(self._job, upstream_model=model, **changes)
        try:
            await self._jobs.save(self._job)
        except GatewayError as error:
            self._log_failure(error)

    def _log_failure(self, error: GatewayError) -> None:
        """Log that the job could not be stored: the waiting client still gets the answer, but cannot fetch it later."""
        _log.warning("completion_store_failed", completion=self._job.id, code=error.code)


async def _each(events: list[Event]) -> AsyncIterator[Event]:
    for event in events:
        yield event


@asynccontextmanager
async def store_progress(exchange: Exchange, jobs: Jobs, job: Job, *, held: bool = False) -> AsyncGenerator[Exchange]:
    """Store the job of an exchange while its events arrive; `held`: the caller has locked it already.

    Unless it is held, the job is stored before this yields, so it can be found by its id from then on.
    """
    async with AsyncExitStack() as hold:
        events = PutBack(_JobRecorder(exchange, jobs, job, None if held else hold).events())
        if not held:
            await peek(events)
        yield exchange.over(events)
