"""Opens the exchange of an answer, with its stop sequences; stores it as a job if it takes minutes.

Clients of every dialect can fetch a stored answer later by its id, at `/v1/chat/completions/{id}`. While a client waits
for the answer, the job is locked, so that no other request resumes it at the same time.

An SDK repeats a request that takes longer than its timeout. A repeated request gets the work that the attempt before
has begun, so no second film is made: it is the newest stored one with the same license, model and conversation.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from hashlib import blake2b

import anyio
import msgspec
import structlog

from protocol.http.context import RequestContext, caller_of
from protocol.http.errors import HttpError
from protocol.http.stop import Bounds, bounded
from protocol.model import (
    Engine,
    Event,
    Exchange,
    FilePart,
    Finish,
    GatewayError,
    GenerationRequest,
    Job,
    JobKind,
    JobPage,
    Jobs,
    JobState,
    MediaPart,
    PutBack,
    Reply,
    Served,
    TextPart,
    UpstreamModel,
    UpstreamTimeout,
    Waiting,
    WorkStarted,
    fold,
    peek,
)

_BOUNDS = "bounds"
_ASKED = "asked"
_MOST_LOOKED_AT = 20
_REPEATED_SECONDS = 7200.0
"""How long after its first attempt a repeated request may come."""
_LOOK_SECONDS = 1.0
_PATIENCE_SECONDS = 1800.0

_log = structlog.get_logger()


def job_of(identity: str, model: str, created: float, request: GenerationRequest, bounds: Bounds) -> Job:
    """Return the job of a completion."""
    return Job(
        id=identity,
        kind=JobKind.CHAT,
        request=request,
        model=model,
        created=created,
        details={_BOUNDS: msgspec.json.encode(bounds).decode(), _ASKED: _digest_of(request)},
    )


def _digest_of(request: GenerationRequest) -> str:
    """Return a digest of what is asked, which is the same if an SDK repeats a request."""
    digest = blake2b(request.selection.id.encode(), digest_size=16)
    for turn in request.turns:
        for part in turn.parts:
            match part:
                case TextPart():
                    content = part.text.encode("utf-8", "surrogatepass")
                case FilePart():
                    content = part.digest
                case MediaPart():
                    content = part.ref.url.encode()
            digest.update(b"%s %d " % (turn.role.encode(), len(content)))
            digest.update(content)
    return digest.hexdigest()


def opened(
    engine: Engine, context: RequestContext, request: GenerationRequest, bounds: Bounds, identity: str
) -> AbstractAsyncContextManager[Exchange]:
    """Return the exchange of a request, not open yet; an answer that takes minutes is stored under its id."""
    selection = request.selection
    if not selection.capability.long_running:
        return bounded(engine, request, bounds)
    job = job_of(identity, selection.id, context.created, request, bounds)
    if request.attempts_before:
        return _open_again(engine, context, job)
    return open_stored(engine, context.jobs, job)


@asynccontextmanager
async def _open_again(engine: Engine, context: RequestContext, job: Job) -> AsyncGenerator[Exchange]:
    """Open the work that an earlier attempt has begun, or begin it."""
    page = JobPage(limit=_MOST_LOOKED_AT)
    earlier = next(
        (
            one.id
            for one in (await context.jobs.page(job.request.caller.owner, JobKind.CHAT, page))[0]
            if one.details.get(_ASKED) == job.details[_ASKED] and context.created - one.created < _REPEATED_SECONDS
        ),
        None,
    )
    if earlier is not None:
        _log.info("repeated_request_joined", request=context.id, completion=earlier)
    opening = open_stored(engine, context.jobs, job) if earlier is None else open_earlier(engine, context, earlier)
    async with opening as exchange:
        yield exchange


async def find_stored(context: RequestContext, identity: str) -> Job:
    """Return a stored completion of the caller.

    Raises:
        HttpError: there is none (404).

    """
    job = await context.jobs.find(caller_of(context).owner, JobKind.CHAT, identity)
    if job is None:
        raise HttpError(404, "not_found", "No stored completion has this id: create it again.")
    return job


@asynccontextmanager
async def open_earlier(engine: Engine, context: RequestContext, identity: str) -> AsyncGenerator[Exchange]:
    """Yield a completion's stored answer, or resume it if no other request does."""
    end = anyio.current_time() + _PATIENCE_SECONDS
    while anyio.current_time() < end:
        async with context.jobs.hold(identity) as mine:
            job = await find_stored(context, identity)
            if job.reply is not None:
                yield _exchange_of(job, job.reply)
                return
            if mine:
                request = msgspec.structs.replace(
                    job.request, id=context.id, caller=caller_of(context), handle=job.handle
                )
                job = msgspec.structs.replace(job, request=request)
                async with open_stored(engine, context.jobs, job, held=True) as exchange:
                    yield exchange
                return
        await anyio.sleep(_LOOK_SECONDS)
    raise UpstreamTimeout("The completion is not finished yet: fetch it again later.")


def _exchange_of(job: Job, reply: Reply) -> Exchange:
    transport, account = (job.handle.transport, job.handle.account) if job.handle is not None else ("", "")
    answered = UpstreamModel(name=job.upstream_model) if job.upstream_model else None
    served = Served(transport=transport, account=account, answered=answered)
    return Exchange(lambda: served, reply.each())


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
