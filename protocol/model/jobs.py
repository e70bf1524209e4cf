"""Work that outlives the request that asked for it: kept by the gateway, found again by its id and its license."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Literal, Protocol

import msgspec

from protocol.model.reply import Reply
from protocol.model.request import GenerationRequest, Handle


class JobKind(StrEnum):
    """What asked for the work, and so who answers for it."""

    VIDEO = "video"
    """The gateway does it by itself."""
    CHAT = "chat"
    """It is done while somebody waits for its answer."""


class JobState(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    """Nothing of it was sent to an upstream."""
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job failed, in words fit for the client."""

    code: str
    message: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work."""

    id: str
    kind: JobKind
    request: GenerationRequest
    """What was asked, and by whose license."""
    model: str
    """The model's name, as answers repeat it."""
    created: float
    """Epoch seconds."""
    details: dict[str, str] = {}
    """What the dialect that made it wants to say again."""
    state: JobState = JobState.QUEUED
    handle: Handle | None = None
    """Where the work is going on, once that is known."""
    completed: float | None = None
    """When it came to its end, well or not."""
    expires: float | None = None
    """When it is forgotten."""
    upstream_model: str = ""
    """The label of the model that the upstream says is at work on it; empty: it has not said so."""
    reply: Reply | None = None
    error: JobError | None = None

    @property
    def over(self) -> bool:
        """Whether it has come to its end."""
        return self.state in {JobState.COMPLETED, JobState.FAILED}


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Which of a license's jobs to list."""

    after: str | None = None
    """The id of the last one seen."""
    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    """By the time of their making."""


class Jobs(Protocol):
    """Keeps jobs. A license sees its own: another's is as unknown as one that never was."""

    async def submit(self, job: Job) -> None:
        """Keep a new job and do it, whoever stays or leaves.

        Raises:
            RateLimited: the license has as many unfinished jobs as it may.
            Saturated: the gateway takes no new work.

        """
        ...

    async def keep(self, job: Job) -> None:
        """Keep a job as it is now; it is done by whoever holds it.

        Raises:
            Saturated: it could not be kept.

        """
        ...

    async def find(self, license_id: str, kind: JobKind, job_id: str) -> Job | None:
        """Return a license's job."""
        ...

    async def page(self, license_id: str, kind: JobKind, page: JobPage) -> tuple[Sequence[Job], bool]:
        """Return some of a license's jobs, and whether there are more."""
        ...

    async def remove(self, license_id: str, kind: JobKind, job_id: str) -> bool:
        """Forget a license's job, and stop it; say whether there was one."""
        ...

    def hold(self, job_id: str) -> AbstractAsyncContextManager[bool]:
        """Be the only one at work on a job for as long as the context lasts; False: somebody else is."""
        ...
