import anyio
import msgspec
import pytest

from protocol.model import (
    BadRequest,
    FilePart,
    JobState,
    RateLimited,
    Saturated,
    SignedOut,
    TextPart,
    Throttled,
    Unsupported,
    UpstreamFailed,
    WorkStarted,
)
from service.jobs.execution import JobExecution, pause, trimmed
from tests.service.jobs.test_runner import ANSWER, FINISH, HANDLE, LATER, Engine, job
from tests.transports.conftest import request_for


class Saved:
    """Records every state that a job is saved in."""

    def __init__(self):
        self.jobs = []

    async def __call__(self, saved):
        self.jobs.append(saved)


async def test_a_run_saves_the_start_and_the_handle_and_returns_the_whole_answer():
    saved, engine = Saved(), Engine(ANSWER)
    reply = await JobExecution(job(), saved).run(engine)
    assert reply.text == "done"
    assert [(one.state, one.handle) for one in saved.jobs] == [
        (JobState.IN_PROGRESS, None),
        (JobState.IN_PROGRESS, HANDLE),
    ]


async def test_a_job_with_a_handle_is_resumed_by_it_and_a_later_handle_replaces_it():
    saved, engine = Saved(), Engine([WorkStarted(handle=LATER), FINISH])
    await JobExecution(msgspec.structs.replace(job(), handle=HANDLE), saved).run(engine)
    assert engine.asked[0].handle == HANDLE
    assert saved.jobs[-1].handle == LATER


@pytest.mark.parametrize("refusal", [RateLimited("x"), Saturated("x"), SignedOut("x")])
async def test_a_job_refused_before_its_start_is_queued_again(refusal):
    saved = Saved()
    with pytest.raises(type(refusal)):
        await JobExecution(job(), saved).run(Engine([refusal]))
    assert saved.jobs[-1].state is JobState.QUEUED


async def test_a_job_that_fails_after_it_began_is_not_queued_again():
    saved = Saved()
    with pytest.raises(RateLimited):
        await JobExecution(job(), saved).run(Engine([WorkStarted(handle=HANDLE), RateLimited("x")]))
    assert {one.state for one in saved.jobs} == {JobState.IN_PROGRESS}


REFUSED = RateLimited("x")


def with_others(*others):
    """Return a job whose license has other models in place of the one that it asks for."""
    asked = job()
    caller = msgspec.structs.replace(asked.request.caller, fallbacks={asked.request.selection.id: others})
    return msgspec.structs.replace(asked, request=msgspec.structs.replace(asked.request, caller=caller))


@pytest.mark.parametrize("refusal", [REFUSED, SignedOut("x"), Unsupported("x", param="model")])
async def test_another_model_stands_in_for_one_that_no_account_can_serve(refusal):
    saved, asked = Saved(), with_others("gemini-3.6-flash", "gemini-3.1-pro-video")
    engine = Engine([refusal], [BadRequest("x")], ANSWER)
    execution = JobExecution(asked, saved)
    assert (await execution.run(engine)).text == "done"
    assert [one.selection.id for one in engine.asked][1:] == ["gemini-3.6-flash", "gemini-3.1-pro-video"]
    assert execution.job.model == "gemini-3.1-pro-video"
    assert (saved.jobs[-1].request.selection.id, saved.jobs[-1].handle) == ("gemini-3.1-pro-video", HANDLE)


@pytest.mark.parametrize(
    "scripts",
    [
        ([REFUSED], [RateLimited("y")], [BadRequest("z")]),
        ([WorkStarted(handle=HANDLE), REFUSED],),
        ([Throttled("x")],),
    ],
)
async def test_without_a_model_that_can_serve_a_job_its_own_refusal_counts(scripts):
    asked = with_others("gemini-3.6-flash", "gemini-3.1-pro-video")
    engine = Engine(*scripts)
    with pytest.raises(RateLimited) as caught:
        await JobExecution(asked, Saved()).run(engine)
    assert caught.value is scripts[0][-1]
    assert engine.scripts == []


async def test_what_fails_with_another_model_is_the_error_of_the_job():
    asked = with_others("gemini-3.1-pro-video")
    for scripts in (([REFUSED], [UpstreamFailed("y")]), ([REFUSED], [WorkStarted(handle=HANDLE), UpstreamFailed("y")])):
        with pytest.raises(UpstreamFailed):
            await JobExecution(asked, Saved()).run(Engine(*scripts))


async def test_a_run_is_settled_once_the_request_has_been_sent():
    sent, end = anyio.Event(), anyio.Event()
    engine = Engine([WorkStarted(handle=HANDLE, settled=False), sent, WorkStarted(handle=LATER), end, FINISH])
    execution = JobExecution(job(), Saved())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(execution.run, engine)
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0.01) as waiting:
            await execution.settled()
        assert waiting.cancelled_caught
        sent.set()
        await execution.settled()
        assert not end.is_set()
        end.set()


@pytest.mark.parametrize(
    ("error", "begun", "seconds"),
    [
        (Saturated("x", retry_after=30.0), False, 30.0),
        (Saturated("x", retry_after=1.0), False, 5.0),
        (RateLimited("x"), True, 60.0),
        (RateLimited("x"), False, None),
        (UpstreamFailed("x"), True, None),
    ],
)
def test_only_temporary_errors_are_retried(error, begun, seconds):
    assert pause(error, begun=begun) == seconds


def test_a_trimmed_job_keeps_its_text_and_loses_its_files():
    whole = job()
    parts = (TextPart(text="a cat"), FilePart(name="a.png", mime="image/png", data=b"x"))
    turn = msgspec.structs.replace(request_for("x").turns[0], parts=parts)
    whole = msgspec.structs.replace(whole, request=msgspec.structs.replace(whole.request, turns=(turn,)))
    assert trimmed(whole).request.turns[0].parts == parts[:1]
