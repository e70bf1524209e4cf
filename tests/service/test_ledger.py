import sqlite3
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from protocol.model import Job, JobKind, JobPage, JobState, Saturated
from service.ledger import Hold, Ledger
from tests.clock import ManualClock
from tests.transports.conftest import request_for

FOREVER = 9e9


def job(identity="video_1", created=1.0, **more):
    request = request_for("a cat", "gemini-3-pro-video")
    return Job(id=identity, kind=JobKind.VIDEO, request=request, model="gemini-3-pro-video", created=created, **more)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "gateway.sqlite3"
    found.touch()
    return found


@pytest.fixture
def ledger(path, clock):
    return Ledger(path, clock)


async def test_a_job_is_found_by_its_id_its_license_and_its_kind(ledger):
    await ledger.put(job(), FOREVER)
    assert await ledger.find("me", JobKind.VIDEO, "video_1") == job()
    assert await ledger.find("you", JobKind.VIDEO, "video_1") is None
    assert await ledger.find("me", JobKind.CHAT, "video_1") is None
    assert await ledger.find("me", JobKind.VIDEO, "video_2") is None


async def test_a_lone_surrogate_in_a_prompt_survives(ledger):
    odd = Job(id="x", kind=JobKind.VIDEO, request=request_for("\ud800"), model="m", created=1.0)
    await ledger.put(odd, FOREVER)
    assert await ledger.find("me", JobKind.VIDEO, "x") == odd


async def test_pages_go_through_all_of_a_licenses_jobs_in_either_order(ledger):
    for number in range(5):
        await ledger.put(job(f"video_{number}", created=float(number // 2)), FOREVER)
    for order, expected in (("desc", [4, 3, 2, 1, 0]), ("asc", [0, 1, 2, 3, 4])):
        seen, after, more = [], None, True
        while more:
            jobs, more = await ledger.page("me", JobKind.VIDEO, JobPage(after=after, limit=2, order=order))
            seen += [found.id for found in jobs]
            after = seen[-1]
        assert seen == [f"video_{number}" for number in expected]
    assert await ledger.page("you", JobKind.VIDEO, JobPage()) == ([], False)


async def test_one_holder_at_a_time_until_it_lets_go_or_dies(ledger, clock):
    await ledger.put(job(), FOREVER)
    assert await ledger.acquire("video_1", Hold("a", 60.0)) == job()
    assert await ledger.acquire("video_1", Hold("b", 60.0)) is None
    clock.advance(50)
    assert await ledger.renew(["a", "b"], 60.0) == {"a"}
    clock.advance(50)
    assert await ledger.acquire("video_1", Hold("b", 60.0)) is None
    clock.advance(11)
    assert await ledger.acquire("video_1", Hold("b", 60.0)) is not None
    await ledger.release("a")
    assert await ledger.acquire("video_1", Hold("c", 60.0)) is None
    await ledger.release("b")
    assert await ledger.acquire("video_1", Hold("c", 60.0)) is not None


async def test_only_the_holder_changes_a_job_and_nobody_one_that_is_gone(ledger):
    await ledger.put(job(), FOREVER, Hold("a", 60.0))
    done = job(state=JobState.COMPLETED)
    assert not await ledger.change(done, FOREVER, "b")
    assert await ledger.change(done, FOREVER, "a")
    assert await ledger.find("me", JobKind.VIDEO, "video_1") == done
    assert not await ledger.remove("you", JobKind.VIDEO, "video_1")
    assert await ledger.remove("me", JobKind.VIDEO, "video_1")
    assert not await ledger.change(job(), FOREVER, "a")
    assert await ledger.find("me", JobKind.VIDEO, "video_1") is None


async def test_what_is_unfinished_and_not_held_is_idle_and_what_has_expired_is_forgotten(ledger, clock):
    await ledger.put(job("held"), FOREVER, Hold("a", 60.0))
    await ledger.put(job("over", state=JobState.FAILED), FOREVER)
    await ledger.put(job("free"), clock.wall() + 100)
    assert await ledger.unfinished("me", JobKind.VIDEO) == 2
    assert await ledger.idle(JobKind.VIDEO) == ["free"]
    clock.advance(61)
    assert await ledger.idle(JobKind.VIDEO) == ["free", "held"]
    clock.advance(40)
    assert await ledger.find("me", JobKind.VIDEO, "free") is None
    assert await ledger.idle(JobKind.VIDEO) == ["held"]


async def test_a_store_that_is_out_of_order_says_so(ledger, path):
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(Saturated) as caught:
        await ledger.find("me", JobKind.VIDEO, "video_1")
    assert caught.value.code == "state_unavailable"


@pytest.mark.parametrize("body", [b'{"id": "odd"}', b"\xff", b"", b'{"id": 1', b'{"id": "\\ud800"}'])
async def test_a_job_that_cannot_be_read_is_named_once_and_is_in_nobodys_way(ledger, path, body):
    await ledger.put(job("good"), FOREVER)
    await ledger.put(job("odd", created=2.0), FOREVER)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE job SET body = ? WHERE id = 'odd'", (body,))
    assert await ledger.find("me", JobKind.VIDEO, "odd") is None
    assert await ledger.page("me", JobKind.VIDEO, JobPage()) == ([job("good")], False)
    assert await ledger.idle(JobKind.VIDEO) == ["good", "odd"]
    with capture_logs() as logs:
        assert await ledger.acquire("odd", Hold("a", 60.0)) is None
    assert [(entry["event"], entry["job"]) for entry in logs] == [("job_unreadable", "odd")]
    assert await ledger.idle(JobKind.VIDEO) == ["good"]
    assert await ledger.unfinished("me", JobKind.VIDEO) == 1
