from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import msgspec
import pytest
from structlog.testing import capture_logs

from protocol.model import (
    Caller,
    Catalogue,
    FilePart,
    Finish,
    Handle,
    Job,
    JobKind,
    JobState,
    RateLimited,
    Saturated,
    Served,
    Text,
    UpstreamFailed,
    Usage,
    WorkStarted,
)
from service.config.schema import JobSettings
from service.jobs.runner import open_jobs
from service.jobs.store import JobStore
from tests.clock import ManualClock
from tests.licenses import KnownLicenses
from tests.transports.conftest import request_for
from transports.clock import SystemClock
from transports.store import MemoryStore, Store

HANDLE = Handle(transport="web", account="one", token="{}")
LATER = Handle(transport="web", account="one", token='{"later": 1}')
FINISH = Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=1))
LICENSES = KnownLicenses(Caller(id="me"))
ANSWER = [WorkStarted(handle=HANDLE), Text(text="done"), FINISH]


class Engine:
    """Answers each request with the next script: events, errors to raise, events of anyio to wait for."""

    catalogue = Catalogue.build()

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.asked = []
        self.open_now = 0
        self.closed = anyio.Event()

    @asynccontextmanager
    async def open(self, request):
        self.asked.append(request)
        script = self.scripts.pop(0)
        if script and isinstance(script[0], Exception):
            raise script[0]
        self.open_now += 1
        try:
            yield Exchange(script)
        finally:
            self.open_now -= 1
            self.closed.set()

    async def cancel(self, handle):
        self.cancelled = handle


class Exchange:
    served = Served(transport="web", account="one")

    def __init__(self, script):
        self._script = script

    async def __aiter__(self):
        for step in self._script:
            if isinstance(step, anyio.Event):
                await step.wait()
            elif isinstance(step, Exception):
                raise step
            else:
                yield step


def job(identity="video_1", clock=None):
    request = request_for("a cat", "gemini-3-pro-video")
    created = (clock or SystemClock()).wall()
    return Job(id=identity, kind=JobKind.VIDEO, request=request, model="m", created=created)


@pytest.fixture
def store():
    return MemoryStore(SystemClock())


@pytest.fixture
def job_store(store):
    return JobStore(Store.of(store), SystemClock())


async def until(jobs, test, identity="video_1"):
    with anyio.fail_after(60):
        while True:
            found = await jobs.find("me", JobKind.VIDEO, identity)
            if found is not None and test(found):
                return found
            await anyio.sleep(0.01)


async def over(jobs, identity="video_1"):
    return await until(jobs, lambda found: found.over, identity)


async def test_a_job_finishes_without_a_waiting_client(job_store):
    engine = Engine(ANSWER)
    async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
        await jobs.submit(job())
        done = await over(jobs)
    assert (done.state, done.reply.text, done.handle) == (JobState.COMPLETED, "done", HANDLE)
    assert done.completed is not None
    assert done.expires == pytest.approx(done.completed + JobSettings().retention_seconds)


async def test_a_refusal_of_the_upstream_is_the_error_of_the_job(job_store):
    async with open_jobs(job_store, Engine([RateLimited("used up")]), LICENSES, JobSettings()) as jobs:
        await jobs.submit(job())
        done = await over(jobs)
    assert (done.state, done.error.code, done.error.message) == (
        JobState.FAILED,
        "upstream_quota_exhausted",
        "used up",
    )


async def test_a_job_waits_for_a_busy_account():
    clock = ManualClock()
    engine = Engine([Saturated("busy", retry_after=7.0)], ANSWER)
    async with open_jobs(JobStore(Store.of(MemoryStore(clock)), clock), engine, LICENSES, JobSettings()) as jobs:
        await clock.until_asleep(1)
        await jobs.submit(job(clock=clock))
        await clock.until_asleep(2)
        assert (await jobs.find("me", JobKind.VIDEO, "video_1")).state is JobState.QUEUED
        clock.advance(7)
        assert (await over(jobs)).reply.text == "done"


async def test_a_running_job_is_resumed_by_its_handle_after_a_restart(job_store):
    engine = Engine([WorkStarted(handle=HANDLE), WorkStarted(handle=LATER), anyio.Event()], ANSWER)
    async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
        await jobs.submit(job())
        await until(jobs, lambda found: found.handle == LATER)
    assert engine.open_now == 0
    async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
        done = await over(jobs)
    assert done.reply.text == "done"
    assert [request.handle for request in engine.asked] == [None, LATER]


async def test_a_queued_response_is_run_after_a_restart(job_store):
    queued = msgspec.structs.replace(job("resp_1"), kind=JobKind.RESPONSE)
    await job_store.put(queued, 9e9)
    async with open_jobs(job_store, Engine(ANSWER), LICENSES, JobSettings()) as jobs:
        await jobs.resume_unfinished()
        with anyio.fail_after(60):
            while not (found := await jobs.find("me", JobKind.RESPONSE, "resp_1")).over:
                await anyio.sleep(0.01)
    assert found.reply.text == "done"


async def test_shutdown_waits_briefly_for_requests_that_are_being_sent(job_store):
    go = anyio.Event()
    engine = Engine([go, WorkStarted(handle=HANDLE), anyio.Event()], ANSWER)
    async with anyio.create_task_group() as tasks:
        async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
            await jobs.submit(job())
            await until(jobs, lambda found: found.state is JobState.IN_PROGRESS)

            async def soon():
                await anyio.lowlevel.checkpoint()
                go.set()

            tasks.start_soon(soon)
    async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
        assert (await over(jobs)).state is JobState.COMPLETED
    assert [request.handle for request in engine.asked] == [None, HANDLE]


async def test_shutdown_waits_for_a_request_that_is_sent_after_it_has_begun(job_store):
    go = anyio.Event()
    engine = Engine([WorkStarted(handle=HANDLE, settled=False), go, WorkStarted(handle=LATER), anyio.Event()], ANSWER)
    async with anyio.create_task_group() as tasks:
        async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
            await jobs.submit(job())
            await until(jobs, lambda found: found.handle == HANDLE)

            async def soon():
                await anyio.lowlevel.checkpoint()
                go.set()

            tasks.start_soon(soon)
    async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
        assert (await over(jobs)).state is JobState.COMPLETED
    assert [request.handle for request in engine.asked] == [None, LATER]


async def test_a_job_whose_outcome_is_unknown_is_not_sent_again(job_store, monkeypatch):
    monkeypatch.setattr("service.jobs.runner._CLOSE_SECONDS", 0.01)
    engine = Engine([anyio.Event()])
    async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
        await jobs.submit(job())
        await until(jobs, lambda found: found.state is JobState.IN_PROGRESS)
    async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
        done = await over(jobs)
    assert (done.state, done.error.code) == (JobState.FAILED, "upstream_outcome_unknown")
    assert len(engine.asked) == 1


async def test_a_job_that_was_never_sent_is_run_by_the_next_process(job_store):
    await job_store.put(job(), 9e9)
    async with open_jobs(job_store, Engine(ANSWER), LICENSES, JobSettings()) as jobs:
        assert (await over(jobs)).reply.text == "done"


async def test_two_processes_do_not_run_a_job_twice(job_store):
    go = anyio.Event()
    first, second = Engine([WorkStarted(handle=HANDLE), go, FINISH]), Engine()
    async with open_jobs(job_store, first, LICENSES, JobSettings()) as jobs:
        await jobs.submit(job())
        await until(jobs, lambda found: found.handle is not None)
        async with open_jobs(job_store, second, LICENSES, JobSettings()) as others:
            await others.resume_unfinished()
            go.set()
            assert (await over(others)).state is JobState.COMPLETED
    assert second.asked == []


async def test_a_job_that_is_removed_stops(job_store):
    engine = Engine([WorkStarted(handle=HANDLE), anyio.Event()])
    async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
        await jobs.submit(job())
        await until(jobs, lambda found: found.handle is not None)
        assert not await jobs.remove("you", JobKind.VIDEO, "video_1")
        assert await jobs.remove("me", JobKind.VIDEO, "video_1")
        with anyio.fail_after(60):
            await engine.closed.wait()
        assert await jobs.find("me", JobKind.VIDEO, "video_1") is None


async def test_the_unfinished_jobs_of_a_license_are_limited(job_store):
    engine = Engine([anyio.Event()])
    async with open_jobs(job_store, engine, LICENSES, JobSettings(unfinished_per_license=1)) as jobs:
        await jobs.submit(job())
        with pytest.raises(RateLimited) as caught:
            await jobs.submit(job("video_2"))
        assert caught.value.code == "rate_limit_exceeded"


async def test_jobs_over_the_concurrency_limit_wait(job_store):
    go = anyio.Event()
    engine = Engine([WorkStarted(handle=HANDLE), go, FINISH], ANSWER)
    async with open_jobs(job_store, engine, LICENSES, JobSettings(concurrency=1)) as jobs:
        await jobs.submit(job())
        await until(jobs, lambda found: found.handle is not None)
        await jobs.submit(job("video_2"))
        assert (await jobs.find("me", JobKind.VIDEO, "video_2")).state is JobState.QUEUED
        go.set()
        await over(jobs, "video_2")


async def test_the_jobs_of_one_license_leave_room_for_those_of_another(job_store):
    release = anyio.Event()
    engine = Engine(*[[WorkStarted(handle=HANDLE), release, FINISH] for _ in range(7)])
    both = KnownLicenses(Caller(id="me"), Caller(id="other"))
    async with open_jobs(job_store, engine, both, JobSettings(concurrency=4)) as jobs:
        for number in range(6):
            await jobs.submit(job(f"video_{number}"))
        await until(jobs, lambda found: found.handle is not None, "video_2")
        other = job("video_of_other")
        request = msgspec.structs.replace(other.request, caller=Caller(id="other"))
        await jobs.submit(msgspec.structs.replace(other, request=request))
        with anyio.fail_after(60):
            while len(engine.asked) < 4:
                await anyio.sleep(0.01)
        assert [request.caller.id for request in engine.asked] == ["me", "me", "me", "other"]
        release.set()
        for number in range(6):
            await over(jobs, f"video_{number}")


async def test_an_error_or_exception_of_a_running_job_is_saved_with_it(job_store):
    engine = Engine(
        [WorkStarted(handle=HANDLE), UpstreamFailed("broke")], [WorkStarted(handle=HANDLE), KeyError("bug")]
    )
    async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
        await jobs.submit(job())
        assert (await over(jobs)).error.code == "upstream_protocol_error"
        await jobs.submit(job("video_2"))
        assert (await over(jobs, "video_2")).error.code == "internal_error"


async def test_files_of_a_finished_job_are_dropped(job_store):
    with_file = job()
    turn = with_file.request.turns[0]
    parts = (FilePart(data=b"x" * 100, mime="image/png", name="x.png"), *turn.parts)
    turns = (msgspec.structs.replace(turn, parts=parts),)
    with_file = msgspec.structs.replace(with_file, request=msgspec.structs.replace(with_file.request, turns=turns))
    engine = Engine(ANSWER)
    async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
        await jobs.submit(with_file)
        done = await over(jobs)
    assert engine.asked[0].turns == turns
    assert done.request.turns == (turn,)


async def test_only_one_caller_at_a_time_can_lock_a_job(job_store):
    async with open_jobs(job_store, Engine(), LICENSES, JobSettings()) as jobs:
        await jobs.save(Job(id="c", kind=JobKind.CHAT, request=request_for("x"), model="m", created=1e12))
        async with jobs.hold("c") as mine, jobs.hold("c") as not_mine:
            assert (mine, not_mine) == (True, False)
        async with jobs.hold("c") as mine:
            assert mine
        async with jobs.hold("unknown") as nobodys:
            assert not nobodys


class Locked(JobStore):
    """Cannot be written to when a job is over."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.tried = anyio.Event()

    async def change(self, job, expires, holder):
        if job.over:
            self.tried.set()
            raise Saturated("locked", code="state_unavailable")
        return await super().change(job, expires, holder)


@pytest.mark.parametrize("error", [RateLimited("used up"), KeyError("bug")])
async def test_a_store_error_while_a_job_fails_is_logged_only(store, error):
    locked = Locked(Store.of(store), SystemClock())
    engine = Engine([error])
    with capture_logs() as logs:
        async with open_jobs(locked, engine, LICENSES, JobSettings()) as jobs:
            await jobs.submit(job())
            with anyio.fail_after(60):
                await locked.tried.wait()
                while jobs._held:
                    await anyio.lowlevel.checkpoint()
    assert {"event": "job_write_failed", "log_level": "warning", "job": "video_1", "code": "state_unavailable"} in logs
    async with open_jobs(JobStore(Store.of(store), SystemClock()), engine, LICENSES, JobSettings()) as jobs:
        assert (await over(jobs)).state is JobState.FAILED


async def test_a_process_that_is_shutting_down_resumes_no_jobs(store):
    clock, engine = ManualClock(), Engine(ANSWER)
    job_store = JobStore(Store.of(store), clock)
    await job_store.put(job(clock=clock), 9e9)
    async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:
        jobs.leaving = lambda: True
        for _ in range(3):
            await clock.until_asleep()
            clock.advance(60)
        assert engine.asked == []
        jobs.leaving = lambda: False
        await clock.until_asleep()
        clock.advance(60)
        with anyio.fail_after(60):
            await engine.closed.wait()
    assert len(engine.asked) == 1


@pytest.mark.parametrize("begun", [False, True])
async def test_a_job_ends_with_its_license_and_no_process_resumes_it(job_store, begun):
    licenses = KnownLicenses(Caller(id="me"))
    never = anyio.Event()
    engine = Engine([WorkStarted(handle=HANDLE), never] if begun else [never])
    async with open_jobs(job_store, engine, licenses, JobSettings()) as jobs:
        await jobs.submit(job())
        await until(jobs, lambda found: found.state is JobState.IN_PROGRESS and bool(found.handle) == begun)
        licenses.end("me")
        await engine.closed.wait()
        await jobs.resume_unfinished()
        assert (engine.open_now, len(engine.asked)) == (0, 1)
        assert not (await jobs.find("me", JobKind.VIDEO, "video_1")).over
    if begun:
        engine.scripts = [ANSWER]
        async with open_jobs(job_store, engine, LICENSES, JobSettings()) as jobs:  # the license of the settings is back
            assert (await over(jobs)).reply.text == "done"
