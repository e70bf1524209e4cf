"""Runs one job: starts it upstream, or resumes it from its handle, and saves it after every step."""

from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import msgspec

from protocol.model import (
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
    SignedOut,
    TextPart,
    WorkStarted,
    fold,
)

_RETRY_SECONDS = 5.0
_LONGEST_RETRY = 60.0

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
            async with engine.open(msgspec.structs.replace(self.job.request, handle=self.job.handle)) as exchange:
                return await fold(self._watched(exchange))
        except (RateLimited, Saturated, SignedOut, Blocked):
            if self.job.handle is None:  # it was refused before it began upstream
                await self._note(state=JobState.QUEUED)
            raise
        finally:
            self._settled.set()

    async def settled(self) -> None:
        """Wait until the process may end without losing a request that is being sent."""
        await self._settled.wait()

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
