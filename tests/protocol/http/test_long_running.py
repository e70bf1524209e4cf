from contextlib import asynccontextmanager

import pytest

from protocol.http.long_running import job_of, open_stored, store_progress
from protocol.http.stop import Bounds
from protocol.model import (
    Caller,
    Catalogue,
    Exchange,
    Finish,
    GenerationRequest,
    Handle,
    JobState,
    Role,
    Saturated,
    Served,
    Text,
    TextPart,
    Thought,
    Turn,
    Usage,
    Waiting,
    WorkStarted,
)

FIRST = Handle(transport="web", account="one", token="1")
SECOND = Handle(transport="web", account="one", token="2")
FINISH = Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=2))


async def stream(events):
    for event in events:
        yield event


def exchange_of(*events):
    return Exchange(lambda: Served(transport="web", account="one"), stream(events))


class Jobs:
    """Notes what is kept and held, in order."""

    def __init__(self, error=None):
        self.kept, self.held, self.error = [], [], error

    async def save(self, job):
        if self.error is not None:
            raise self.error
        self.kept.append(job)

    @asynccontextmanager
    async def hold(self, job_id):
        self.held.append(job_id)
        yield True
        self.held.remove(job_id)


def request_for(model):
    return GenerationRequest(
        id="req",
        caller=Caller(id="me"),
        selection=Catalogue.build().resolve(model),
        turns=(Turn(role=Role.USER, parts=(TextPart(text="tea"),)),),
    )


@pytest.fixture
def job():
    return job_of("chatcmpl-1", "m", 1.0, request_for("gemini-3-pro-deepsearch"), Bounds(stops=("x",), tokens=7))


async def test_every_handle_is_stored_before_its_event_and_the_reply_at_the_end(job):
    events = [
        WorkStarted(handle=FIRST),
        Waiting(),
        Thought(text="hm"),
        WorkStarted(handle=SECOND),
        Text(text="report"),
        FINISH,
    ]
    jobs, seen = Jobs(), []
    async with store_progress(exchange_of(*events), jobs, job) as kept:
        async for event in kept:
            seen.append((event, len(jobs.kept), list(jobs.held)))
    assert [event for event, _, _ in seen] == events
    assert [(count, held) for event, count, held in seen if isinstance(event, WorkStarted)] == [
        (1, ["chatcmpl-1"]),
        (2, ["chatcmpl-1"]),
    ]
    assert jobs.held == []
    assert [found.handle for found in jobs.kept] == [FIRST, SECOND, SECOND]
    assert jobs.kept[-1].state is JobState.COMPLETED
    assert (jobs.kept[-1].reply.text, jobs.kept[-1].reply.thoughts) == ("report", "hm")


async def test_the_handle_is_stored_before_the_exchange_is_yielded(job):
    jobs = Jobs()
    async with store_progress(exchange_of(WorkStarted(handle=FIRST), FINISH), jobs, job):
        assert [found.handle for found in jobs.kept] == [FIRST]


async def test_a_job_that_is_locked_already_is_not_locked_again(job):
    jobs = Jobs()
    async with store_progress(exchange_of(WorkStarted(handle=FIRST), FINISH), jobs, job, held=True) as kept:
        async for _ in kept:
            assert jobs.held == []
    assert len(jobs.kept) == 2


async def test_an_answer_without_a_handle_is_not_stored(job):
    jobs = Jobs()
    async with store_progress(exchange_of(Text(text="no"), FINISH), jobs, job) as kept:
        assert [event async for event in kept]
    assert jobs.kept == []


async def test_a_store_failure_does_not_end_the_answer(job):
    jobs = Jobs(Saturated("broken", code="state_unavailable"))
    async with store_progress(exchange_of(WorkStarted(handle=FIRST), Text(text="report"), FINISH), jobs, job) as kept:
        assert [event async for event in kept][-1] == FINISH


class Taken(Jobs):
    """Keeps jobs, and cannot hold them."""

    @asynccontextmanager
    async def hold(self, job_id):
        raise Saturated("broken", code="state_unavailable")
        yield


async def test_a_job_that_cannot_be_locked_does_not_end_the_answer(job):
    jobs = Taken()
    async with store_progress(exchange_of(WorkStarted(handle=FIRST), Text(text="report"), FINISH), jobs, job) as kept:
        assert [event async for event in kept][-1] == FINISH
    assert jobs.kept[-1].state is JobState.COMPLETED


class Unheld(Jobs):
    """Keeps, and cannot be held."""

    @asynccontextmanager
    async def hold(self, job_id):
        raise Saturated("broken", code="state_unavailable")
        yield


async def test_a_store_failure_during_the_lock_of_a_job_does_not_end_the_answer(job):
    jobs = Unheld()
    async with store_progress(exchange_of(WorkStarted(handle=FIRST), Text(text="report"), FINISH), jobs, job) as kept:
        assert [event async for event in kept][-1] == FINISH
    assert jobs.kept[-1].state is JobState.COMPLETED


async def test_a_resumed_completion_ends_at_the_limit_that_was_stored():
    class Engine:
        @asynccontextmanager
        async def open(self, request):
            yield exchange_of(Text(text="four words of text"), FINISH)

    stored = job_of("chatcmpl-1", "m", 1.0, request_for("gemini-3-pro-deepsearch"), Bounds(tokens=1))
    async with open_stored(Engine(), Jobs(), stored, held=True) as exchange:
        events = [event async for event in exchange]
    assert events[0] == Text(text="four wo")
    assert events[-1].reason == "length"
