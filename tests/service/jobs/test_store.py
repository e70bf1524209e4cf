"""One contract for the job_store in every kind of store."""

import anyio
import msgspec
import pytest
from structlog.testing import capture_logs

from protocol.http.spool import Spool
from protocol.model import FilePart, Job, JobKind, JobPage, JobState, Saturated
from service.jobs.store import JobLock, JobStore
from tests.clock import ManualClock
from tests.transports.conftest import request_for
from transports.store import MemoryStore, Store, StoreDown
from transports.store.port import JOB_INDEX, JOBS

FOREVER = 9e9


def job(identity="video_1", created=1.0, **more):
    request = request_for("a cat", "gemini-3-pro-video")
    return Job(id=identity, kind=JobKind.VIDEO, request=request, model="gemini-3-pro-video", created=created, **more)


class World:
    """The job stores of several processes, and their clock."""

    def __init__(self, open_store):
        self._open, self.clock, self.seconds = open_store, ManualClock(), open_store.short

    async def process(self):
        return JobStore(Store.of(await self._open()), self.clock)

    def hold(self, holder):
        return JobLock(holder, self.seconds)

    async def elapse(self, share=1.0):
        """Let the duration of a lock pass, or a part of it."""
        self.clock.advance(self.seconds * share)
        await self._open.elapse(self.seconds * share)


@pytest.fixture
def world(open_store):
    return World(open_store)


@pytest.fixture
async def job_store(world):
    return await world.process()


async def test_a_file_on_disk_is_kept_with_its_job(world, job_store):
    file = Spool().file(100)
    file.write(b"12345")
    one, other = (FilePart(mime="m", name="n", **of) for of in ({"stored": file.finish()}, {"data": b"12345"}))

    def with_file(part):
        request = job().request
        turns = (msgspec.structs.replace(request.turns[0], parts=(part, *request.turns[0].parts)),)
        return msgspec.structs.replace(job(), request=msgspec.structs.replace(request, turns=turns))

    await job_store.put(with_file(one), FOREVER)
    assert await (await world.process()).find("me", JobKind.VIDEO, "video_1") == with_file(other)


async def test_a_job_is_found_by_its_id_its_license_and_its_kind(world, job_store):
    await job_store.put(job(), FOREVER)
    other = await world.process()
    assert await other.find("me", JobKind.VIDEO, "video_1") == job()
    assert await other.find("you", JobKind.VIDEO, "video_1") is None
    assert await other.find("me", JobKind.CHAT, "video_1") is None
    assert await other.find("me", JobKind.VIDEO, "video_2") is None


@pytest.mark.parametrize("identity", ["", "a/b", "a b", "\n", "ü", "x" * 1000, "*", "../video_1"])
async def test_an_invalid_id_names_no_job(job_store, identity):
    assert await job_store.find("me", JobKind.VIDEO, identity) is None
    assert not await job_store.remove("me", JobKind.VIDEO, identity)
    assert await job_store.acquire(identity, JobLock("a", 60.0)) is None
    assert await job_store.page("me", JobKind.VIDEO, JobPage(after=identity)) == ([], False)


async def test_a_lone_surrogate_in_a_prompt_survives(job_store):
    odd = Job(id="x", kind=JobKind.VIDEO, request=request_for("\ud800"), model="m", created=1.0)
    await job_store.put(odd, FOREVER)
    assert await job_store.find("me", JobKind.VIDEO, "x") == odd


async def test_pages_cover_all_jobs_of_a_license_in_both_orders(job_store):
    for number in range(5):
        await job_store.put(job(f"video_{number}", created=float(number // 2)), FOREVER)
    for order, expected in (("desc", [4, 3, 2, 1, 0]), ("asc", [0, 1, 2, 3, 4])):
        seen, after, more = [], None, True
        while more:
            jobs, more = await job_store.page("me", JobKind.VIDEO, JobPage(after=after, limit=2, order=order))
            seen += [found.id for found in jobs]
            after = seen[-1]
        assert seen == [f"video_{number}" for number in expected]
    assert await job_store.page("you", JobKind.VIDEO, JobPage()) == ([], False)
    assert await job_store.page("me", JobKind.VIDEO, JobPage(after="unknown")) == ([], False)


async def test_a_job_lock_has_one_owner_until_release_or_expiry(world, job_store):
    other = await world.process()
    await job_store.put(job(), FOREVER)
    assert await job_store.acquire("video_1", world.hold("a")) == job()
    assert await other.acquire("video_1", world.hold("b")) is None
    await world.elapse(0.5)
    assert await job_store.renew(["a", "b"], world.seconds) == {"a"}
    await world.elapse(0.6)
    assert await other.acquire("video_1", world.hold("b")) is None
    await world.elapse()
    assert await job_store.renew(["a"], world.seconds) == set()
    assert await other.acquire("video_1", JobLock("b", 60.0)) is not None
    await job_store.release("a")
    assert await job_store.acquire("video_1", JobLock("c", 60.0)) is None
    await other.release("b")
    assert await job_store.acquire("video_1", JobLock("c", 60.0)) is not None


async def test_only_the_lock_holder_changes_a_job_that_exists(world, job_store):
    other = await world.process()
    await job_store.put(job(), FOREVER, JobLock("a", 60.0))
    done = job(state=JobState.COMPLETED)
    assert not await other.change(done, FOREVER, "a")
    assert not await job_store.change(done, FOREVER, "b")
    assert await job_store.change(done, FOREVER, "a")
    assert await job_store.find("me", JobKind.VIDEO, "video_1") == done
    assert await job_store.unfinished("me", JobKind.VIDEO) == 0
    assert not await job_store.remove("you", JobKind.VIDEO, "video_1")
    assert await job_store.remove("me", JobKind.VIDEO, "video_1")
    assert not await job_store.remove("me", JobKind.VIDEO, "video_1")
    assert not await job_store.change(job(), FOREVER, "a")
    assert await job_store.find("me", JobKind.VIDEO, "video_1") is None
    assert await job_store.page("me", JobKind.VIDEO, JobPage()) == ([], False)


async def test_a_process_with_an_expired_lock_cannot_change_the_job(world, job_store):
    await job_store.put(job(), FOREVER, world.hold("a"))
    await world.elapse()
    heir = await world.process()
    assert await heir.idle(JobKind.VIDEO) == ["video_1"]
    assert await heir.acquire("video_1", JobLock("b", 60.0)) == job()
    assert not await job_store.change(job(state=JobState.FAILED), FOREVER, "a")
    assert await heir.change(job(state=JobState.COMPLETED), FOREVER, "b")
    assert (await job_store.find("me", JobKind.VIDEO, "video_1")).state is JobState.COMPLETED


async def test_an_unfinished_job_is_offered_to_other_processes_until_it_expires(world, job_store):
    await job_store.put(job("held", created=3.0), FOREVER, JobLock("a", 60.0))
    await job_store.put(job("over", state=JobState.FAILED), FOREVER)
    await job_store.put(job("free"), world.clock.wall() + world.seconds)
    other = await world.process()
    assert await job_store.unfinished("me", JobKind.VIDEO) == 2
    assert await job_store.idle(JobKind.VIDEO) == ["free"]
    assert await other.idle(JobKind.VIDEO) == ["free", "held"]
    assert await other.acquire("held", JobLock("b", 60.0)) is None
    await world.elapse()
    assert await job_store.find("me", JobKind.VIDEO, "free") is None
    assert await other.idle(JobKind.VIDEO) == ["held"]
    assert await job_store.unfinished("me", JobKind.VIDEO) == 1


async def test_a_finished_job_is_kept_and_listed_until_it_expires(world, job_store):
    await job_store.put(job(), world.clock.wall() + world.seconds, JobLock("a", 60.0))
    done = job(state=JobState.COMPLETED)
    assert await job_store.change(done, FOREVER, "a")
    await world.elapse()
    assert await job_store.page("me", JobKind.VIDEO, JobPage()) == ([done], False)


class Failing(MemoryStore):
    """Is out of order from a number of writes on."""

    left = 1000

    async def put(self, *arguments, **options):
        self._count()
        return await super().put(*arguments, **options)

    async def remove(self, *arguments, **options):
        self._count()
        return await super().remove(*arguments, **options)

    def _count(self):
        self.left -= 1
        if self.left < 0:
            raise StoreDown("out of order")


@pytest.mark.parametrize("writes", range(3))
async def test_a_failed_creation_of_a_job_blocks_no_other(writes):
    clock = ManualClock()
    store = Failing(clock)
    job_store = JobStore(Store.of(store), clock)
    store.left = writes
    with pytest.raises(Saturated):
        await job_store.put(job(), FOREVER, JobLock("a", 60.0))
    store.left = 1000
    clock.advance(61)
    heir = JobStore(Store.of(store), clock)
    assert await heir.page("me", JobKind.VIDEO, JobPage()) == ([], False)
    for identity in await heir.idle(JobKind.VIDEO):
        assert await heir.acquire(identity, JobLock("b", 60.0)) is None
    assert await heir.idle(JobKind.VIDEO) == []
    assert await heir.unfinished("me", JobKind.VIDEO) == 0


@pytest.mark.parametrize("writes", range(4))
async def test_an_interrupted_end_of_a_job_is_completed_by_another_process(writes):
    clock = ManualClock()
    store = Failing(clock)
    job_store, done = JobStore(Store.of(store), clock), job(state=JobState.COMPLETED)
    await job_store.put(job(), FOREVER, JobLock("a", 60.0))
    store.left = writes
    if writes < 3:
        with pytest.raises(Saturated):
            await job_store.change(done, FOREVER, "a")
    else:
        assert await job_store.change(done, FOREVER, "a")
    store.left = 1000
    clock.advance(61)
    heir = JobStore(Store.of(store), clock)
    for identity in await heir.idle(JobKind.VIDEO):
        found = await heir.acquire(identity, JobLock("b", 60.0))
        if not found.over:
            assert await heir.change(done, FOREVER, "b")
        await heir.release("b")
    assert await heir.idle(JobKind.VIDEO) == []
    assert await heir.page("me", JobKind.VIDEO, JobPage()) == ([done], False)


async def test_an_unavailable_store_is_an_error_with_a_retry_time():
    store = Failing(ManualClock())
    store.left = 0
    with pytest.raises(Saturated) as caught:
        await JobStore(Store.of(store), ManualClock()).put(job(), FOREVER)
    assert (caught.value.code, caught.value.retry_after) == ("state_unavailable", 5.0)


@pytest.mark.parametrize("body", [b'{"id": "odd"}', b"\xff", b"", b'{"id": 1', b'{"id": "\\ud800"}'])
async def test_an_unreadable_job_is_logged_once_and_blocks_no_other(body):
    clock = ManualClock()
    store = MemoryStore(clock)
    job_store = JobStore(Store.of(store), clock)
    await job_store.put(job("good"), FOREVER)
    await job_store.put(job("odd", created=2.0), FOREVER)
    await store.put(JOBS, "odd", body)
    assert await job_store.find("me", JobKind.VIDEO, "odd") is None
    assert await job_store.page("me", JobKind.VIDEO, JobPage()) == ([job("good")], False)
    assert await job_store.idle(JobKind.VIDEO) == ["good", "odd"]
    with capture_logs() as logs:
        assert await job_store.acquire("odd", JobLock("a", 60.0)) is None
    assert [(entry["event"], entry["job"]) for entry in logs] == [("job_unreadable", "odd")]
    assert await job_store.idle(JobKind.VIDEO) == ["good"]
    assert await job_store.unfinished("me", JobKind.VIDEO) == 1


async def test_no_prompt_is_in_a_key(job_store, open_store):
    await job_store.put(job(), FOREVER)
    store = await open_store()
    keys = await store.keys(JOBS) + await store.keys(JOB_INDEX)
    assert len(keys) == 3
    assert not [key for key in keys if "cat" in key]


async def test_a_job_is_saved_completely_if_its_client_disconnects(job_store):
    with anyio.CancelScope() as scope:
        scope.cancel()
        await job_store.put(job(), FOREVER)
    assert await job_store.find("me", JobKind.VIDEO, "video_1") == job()
    assert (await job_store.page("me", JobKind.VIDEO, JobPage()))[0] == [job()]
