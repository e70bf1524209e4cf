"""Jobs in the store: request, progress and the lock of the worker that runs the job.

A job's record is stored under its id. Two index entries lead to it: one in the list of its license's jobs, and one in
the list of unfinished jobs. Both are written before the record and removed after it, so an interrupted write may
leave an index entry without a job, but never a job that no list contains.
"""

import json
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import anyio
import msgspec
import structlog

from protocol.model import FilePart, Job, JobKind, JobPage, Saturated
from transports.clock import Clock
from transports.store import Record, Store, Unreadable
from transports.store.port import JOB_INDEX, JOBS

_ID = re.compile(r"[\x21-\x2e\x30-\x7e]{1,128}")
"""No slash, because keys use it as separator."""
_RETRY_SECONDS = 5.0
_LEAST_SECONDS = 0.001
_TRIES = 5
_LISTED, _OPEN = "all", "open"

_log = structlog.get_logger()

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Job).decode


class JobLock(msgspec.Struct, frozen=True):
    """The lock of a job: its holder, and the seconds until it expires unless renewed."""

    holder: str
    seconds: float


class JobStore:
    """Jobs in the store. Writes are durable when a call returns; every method may raise Saturated."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Store jobs in `store`."""
        self._records, self._locks, self.clock = store.records, store.locks, clock
        self._held: dict[str, tuple[str, float]] = {}
        """Job id and lock seconds of each lock holder in this process."""

    async def put(self, job: Job, expires: float, lock: JobLock | None = None) -> None:
        """Save a new or known job until `expires`; with `lock`, also acquire its lock."""
        with (
            saturated_on_failure(),
            anyio.CancelScope(shield=True),
        ):  # a client that disconnects meanwhile may fetch the job later
            if (
                lock is not None
                and await self._locks.acquire(_lock_name(job.id), lock.holder, lock.seconds) is not None
            ):
                self._held[lock.holder] = (job.id, lock.seconds)
            seconds = self._seconds(expires)
            await self._records.put(JOB_INDEX, _key(_LISTED, job), b"", seconds=seconds)
            if not job.over:
                await self._records.put(JOB_INDEX, _key(_OPEN, job), b"", seconds=seconds)
            await self._records.put(JOBS, job.id, _pack(job), seconds=seconds)
            if job.over:
                await self._records.remove(JOB_INDEX, _key(_OPEN, job))

    async def change(self, job: Job, expires: float, holder: str) -> bool:
        """Save a known job; return False if `holder` no longer holds its lock, or the job was removed."""
        job_id, seconds = self._held.get(holder, ("", 0.0))
        done = False
        if job_id != job.id:
            return done
        with saturated_on_failure(), anyio.CancelScope(shield=True):
            held = await self._locks.renew(_lock_name(job_id), holder, seconds)
            done = held and await self._replace(job, expires)
            if done and job.over:
                await self._records.put(JOB_INDEX, _key(_LISTED, job), b"", seconds=self._seconds(expires))
                await self._records.remove(JOB_INDEX, _key(_OPEN, job))
        return done

    async def find(self, owner: str, kind: JobKind, job_id: str) -> Job | None:
        """Return a license's job."""
        with saturated_on_failure():
            job = await self._read(job_id)
        return job if job is not None and (job.request.caller.owner, job.kind) == (owner, kind) else None

    async def page(self, owner: str, kind: JobKind, page: JobPage) -> tuple[Sequence[Job], bool]:
        """Return some of a license's jobs, and whether there are more."""
        prefix, after, reverse = f"{_LISTED}/{kind}/{owner}/", "", page.order == "desc"
        if page.after is not None:
            last = await self.find(owner, kind, page.after)
            if last is None:
                return [], False
            after = _key(_LISTED, last)
        found: list[Job] = []
        with saturated_on_failure():
            while len(found) <= page.limit:
                most = page.limit + 1 - len(found)
                keys = await self._records.keys(JOB_INDEX, prefix, after=after, limit=most, reverse=reverse)
                if not keys:
                    break
                after = keys[-1]
                jobs = [await self._read(_id(key)) for key in keys]
                found += [job for job in jobs if job is not None]
        return found[: page.limit], len(found) > page.limit

    async def remove(self, owner: str, kind: JobKind, job_id: str) -> bool:
        """Remove a license's job; return whether it existed."""
        job = await self.find(owner, kind, job_id)
        if job is None:
            return False
        with saturated_on_failure():
            removed = await self._records.remove(JOBS, job_id)
            for index in (_LISTED, _OPEN):
                await self._records.remove(JOB_INDEX, _key(index, job))
        return removed

    async def unfinished(self, owner: str, kind: JobKind) -> int:
        """Count a license's unfinished jobs."""
        with saturated_on_failure():
            return len(await self._records.keys(JOB_INDEX, f"{_OPEN}/{kind}/{owner}/"))

    async def acquire(self, job_id: str, lock: JobLock) -> Job | None:
        """Acquire the lock of a job and return the job; None if another worker holds it or the job is unreadable."""
        if not _ID.fullmatch(job_id):
            return None
        with saturated_on_failure():
            if await self._locks.acquire(_lock_name(job_id), lock.holder, lock.seconds) is None:
                return None
            job = await self._read(job_id)
            if job is None or job.over:  # it cannot be resumed: do not offer it again
                for key in await self._records.keys(JOB_INDEX, f"{_OPEN}/"):
                    if _id(key) == job_id:
                        await self._records.remove(JOB_INDEX, key)
            if job is None:
                await self._locks.release(_lock_name(job_id), lock.holder)
                return None
        self._held[lock.holder] = (job_id, lock.seconds)
        return job

    async def renew(self, holders: Sequence[str], seconds: float) -> set[str]:
        """Renew locks; return the holders that still hold theirs."""
        kept: set[str] = set()
        with saturated_on_failure():
            for holder in holders:
                job_id, _ = self._held.get(holder, ("", 0.0))
                if job_id and await self._locks.renew(_lock_name(job_id), holder, seconds):
                    kept.add(holder)
        return kept

    async def release(self, holder: str) -> None:
        """Release the lock of a job."""
        job_id, _ = self._held.pop(holder, ("", 0.0))
        if job_id:
            with saturated_on_failure():
                await self._locks.release(_lock_name(job_id), holder)

    async def idle(self, kind: JobKind) -> Sequence[str]:
        """Return ids of unfinished jobs that this process does not run, oldest first; others may hold their locks."""
        held = {job_id for job_id, _ in self._held.values()}
        with saturated_on_failure():
            keys = await self._records.keys(JOB_INDEX, f"{_OPEN}/{kind}/")
        jobs = [_id(key) for key in sorted(keys, key=lambda key: key.rsplit("/", 2)[1:])]
        return [job_id for job_id in jobs if job_id not in held]

    async def _replace(self, job: Job, expires: float) -> bool:
        """Overwrite a stored job, after any simultaneous write; return False if it was removed."""
        for _ in range(_TRIES):
            stored = await self._get(job.id)
            if stored is None:
                return False
            value, seconds = _pack(job), self._seconds(expires)
            if await self._records.put(JOBS, job.id, value, expected=stored.version, seconds=seconds) is not None:
                return True
        return False

    async def _read(self, job_id: str) -> Job | None:
        record = await self._get(job_id) if _ID.fullmatch(job_id) else None
        return _unpack(job_id, record.value) if record is not None else None

    async def _get(self, job_id: str) -> Record | None:
        try:
            return await self._records.get(JOBS, job_id)
        except Unreadable as error:
            _log.error("job_unreadable", job=job_id, error=type(error).__name__)
            return None

    def _seconds(self, expires: float) -> float:
        return max(_LEAST_SECONDS, expires - self.clock.wall())


@contextmanager
def saturated_on_failure() -> Generator[None]:
    """Turn an error of the store into the error for the client.

    Source: reliability 2.3
    """
    try:
        yield
    except OSError:
        message = "The gateway's store is not available. Try again later."
        raise Saturated(message, retry_after=_RETRY_SECONDS, code="state_unavailable") from None


def _key(index: str, job: Job) -> str:
    return f"{index}/{job.kind}/{job.request.caller.owner}/{job.created:020.6f}/{job.id}"


def _id(key: str) -> str:
    return key.rpartition("/")[2]


def _lock_name(job_id: str) -> str:
    return f"job/{job_id}"


def _pack(job: Job) -> bytes:
    """Encode a job, with its files in memory."""
    replace = msgspec.structs.replace
    turns = tuple(
        replace(turn, parts=tuple(part.loaded() if isinstance(part, FilePart) else part for part in turn.parts))
        for turn in job.request.turns
    )
    job = replace(job, request=replace(job.request, turns=turns))
    try:
        return _encode(job)
    except UnicodeEncodeError:  # a lone surrogate: only an escape can carry it
        return json.dumps(msgspec.to_builtins(job)).encode()


def _unpack(job_id: str, body: bytes) -> Job | None:
    """Decode a job; None if that fails."""
    try:
        try:
            return _decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:  # a lone surrogate: see `_pack`
            return msgspec.convert(json.loads(body), Job)
    except (msgspec.MsgspecError, ValueError) as error:
        _log.error("job_unreadable", job=job_id, error=type(error).__name__)
        return None
