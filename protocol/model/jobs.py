"""Jobs: work that outlives its HTTP request. The gateway stores a job under its id and license."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Literal, Protocol

import msgspec

from protocol.model.reply import Reply
from protocol.model.request import GenerationRequest, Handle


class JobKind(StrEnum):
    """The API that created a job."""

    VIDEO = "video"
    """The gateway runs it in the background."""
    CHAT = "chat"
    """It runs while a client waits for the answer."""
    RESPONSE = "response"
    """The gateway runs it in the background."""


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    """No request has been sent to an upstream yet."""
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job failed, as clients see it."""

    code: str
    message: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job."""

    id: str
    kind: JobKind
    request: GenerationRequest
    """The request, with its license."""
    model: str
    """The model name that responses show."""
    created: float
    """Epoch seconds."""
    details: dict[str, str] = {}
    """Fields that the dialect needs for its responses."""
    state: JobState = JobState.QUEUED
    handle: Handle | None = None
    """The reference to the work at the upstream, once it is known."""
    completed: float | None = None
    """When it completed or failed, in epoch seconds."""
    expires: float | None = None
    """When it is deleted, in epoch seconds."""
    upstream_model: str = ""
    """The label of the model that the upstream reports; empty if it has not reported one."""
    reply: Reply | None = None
    error: JobError | None = None

    @property
    def over(self) -> bool:
        """Whether it has completed or failed."""
        return self.state in {JobState.COMPLETED, JobState.FAILED}


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of a license's jobs to list."""

    after: str | None = None
    """The id of the last job on the previous page."""
    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    """The order by creation time."""


class Jobs(Protocol):
    """Stores and runs jobs. A license can access only its own jobs, by its `Caller.owner`."""

    async def submit(self, job: Job) -> None:
        """Store a new job and run it in the background.

        Raises:
            RateLimited: the license has reached its limit of unfinished jobs.
            Saturated: the gateway accepts no new jobs.

        """
        ...

    async def save(self, job: Job) -> None:
        """Store the current state of a job, which its holder runs.

        Raises:
            Saturated: the job could not be stored.

        """
        ...

    async def find(self, owner: str, kind: JobKind, job_id: str) -> Job | None:
        """Return a job of a license, or None."""
        ...

    async def page(self, owner: str, kind: JobKind, page: JobPage) -> tuple[Sequence[Job], bool]:
        """Return some of a license's jobs, and whether there are more."""
        ...

    async def remove(self, owner: str, kind: JobKind, job_id: str) -> bool:
        """Delete a job of a license and stop it; return whether it existed."""
        ...

    def hold(self, job_id: str) -> AbstractAsyncContextManager[bool]:
        """Lock a job while the context lasts; yields False if another request or process holds the lock."""
        ...
