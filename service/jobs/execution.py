"""Runs one job: starts it upstream, or resumes it from its handle, and saves it after every step.

If no account can serve the model of a job that has not begun, the models that stand in for it are tried.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import msgspec
import structlog

from protocol.http.fallback import asks_for_another_model, stand_ins
from protocol.model import (
    BadRequest,
    Blocked,
    Engine,
    Event,
    Exchange,
    GatewayError,
    Job,
    JobState,
    RateLimited,
    Reply,
    Saturated,
    Selection,
    SignedOut,
    TextPart,
    WorkStarted,
    fold,
)

_RETRY_SECONDS = 5.0
_LONGEST_RETRY = 60.0

_log = structlog.get_logger()

Keep = Callable[[Job], Awaitable[None]]
"""Saves the current state of a job."""


class JobExecution:
    """One run of a job."""

    def __init__(self, job: Job, keep: Keep) -> None:
        """Prepare to start the job, or to resume it from its handle."""
        self.job, self._keep = job, keep
        self._settled = anyio.Event()
        self._settled.set()

    async def run(self, engine: Engine) -> Reply:
        """Run the job; return the complete answer.

        Raises:
            GatewayError: it failed, or cannot run now.

        """
        self._settled = anyio.Event()
        try:
            await self._note(state=JobState.IN_PROGRESS)
            try:
                return await self._answer(engine, self.job.request.selection)
            except GatewayError as error:
                reply = await self._answer_of_another(engine, error)
                if reply is None:
                    raise
                return reply
        except (RateLimited, Saturated, SignedOut, Blocked):
            if self.job.handle is None:  # it was refused before it began upstream
                await self._note(state=JobState.QUEUED)
            raise
        finally:
            self._settled.set()

    async def settled(self) -> None:
        """Wait until the process may end without losing a request that is being sent."""
        await self._settled.wait()

    async def _answer(self, engine: Engine, selection: Selection) -> Reply:
        """Return the complete answer of a model; the job has this model once the model has begun to answer."""
        job = self.job
        request = msgspec.structs.replace(job.request, selection=selection, handle=job.handle)
        async with engine.open(request) as exchange:
            if selection != job.request.selection:
                _log.info("model_fallback_used", job=job.id, requested=job.request.selection.id, model=selection.id)
                await self._note(request=msgspec.structs.replace(request, handle=None), model=selection.id)
            return await fold(self._watched(exchange))

    async def _answer_of_another(self, engine: Engine, refused: GatewayError) -> Reply | None:
        """Return the answer of the next model that an account can serve; None: there is none."""
        if self.job.handle is not None or not asks_for_another_model(refused):
            return None
        requested = self.job.request
        for selection in stand_ins(engine, requested.selection, requested.caller):
            try:
                return await self._answer(engine, selection)
            except GatewayError as error:
                begun = self.job.request is not requested
                if begun or not (asks_for_another_model(error) or isinstance(error, BadRequest)):
                    raise
        return None

    async def _watched(self, exchange: Exchange) -> AsyncIterator[Event]:
        async for event in exchange:
            if isinstance(event, WorkStarted):
                self.job = trimmed(self.job)
                await self._note(handle=event.handle, upstream_model=exchange.served.model or self.job.upstream_model)
                if event.settled:
                    self._settled.set()
            yield event

    async def _note(self, **changes: object) -> None:
        self.job = msgspec.structs.replace(self.job, **changes)
        await self._keep(self.job)


def pause(error: GatewayError, *, begun: bool) -> float | None:
    """Return the seconds to wait before a retry; None: do not retry."""
    if isinstance(error, Saturated):
        return max(error.retry_after, _RETRY_SECONDS)
    if begun and isinstance(error, RateLimited | SignedOut | Blocked):
        return _LONGEST_RETRY
    return None


def trimmed(job: Job) -> Job:
    """Return a job without the files of its request, which are not needed once it was sent."""
    turns = tuple(
        msgspec.structs.replace(turn, parts=tuple(part for part in turn.parts if isinstance(part, TextPart)))
        for turn in job.request.turns
    )
    return msgspec.structs.replace(job, request=msgspec.structs.replace(job.request, turns=turns))
