import msgspec
import pytest

from protocol.model import (
    Caller,
    Catalogue,
    GenerationRequest,
    Job,
    JobError,
    JobKind,
    JobState,
    Media,
    MediaKind,
    MediaRef,
    Reply,
    Role,
    Text,
    TextPart,
    Turn,
    Usage,
)
from protocol.openai.videos import write

FILM = MediaRef(transport="web", account="one", kind=MediaKind.VIDEO, url="https://secret.example/film")
REQUEST = GenerationRequest(
    id="req",
    caller=Caller(id="me"),
    selection=Catalogue.build().resolve("gemini-3-pro-video"),
    turns=(Turn(role=Role.USER, parts=(TextPart(text="a cat"),)),),
)


def job(**more):
    return Job(
        id="video_1",
        kind=JobKind.VIDEO,
        request=REQUEST,
        model="gemini-3-pro-video",
        created=100.5,
        details={"prompt": "a cat", "size": "1280x720", "seconds": "8"},
        **more,
    )


def reply(*pieces):
    return Reply(pieces=pieces, thoughts="", finish="stop", usage=Usage(input_tokens=1, output_tokens=1))


def done(*pieces):
    return job(state=JobState.COMPLETED, completed=150.0, expires=9000.0, reply=reply(*pieces))


def test_a_finished_video_does_not_reveal_the_upstreams_url():
    written = write.video(done(Text(text="here"), Media(ref=FILM)), 160.0)
    assert (written.status, written.progress, written.created_at, written.completed_at) == ("completed", 100, 100, 150)
    assert (written.expires_at, written.error, written.prompt, written.seconds) == (9000, None, "a cat", "8")
    assert b"secret" not in msgspec.json.encode(written)
    assert write.film(done(Media(ref=FILM))) == FILM


@pytest.mark.parametrize(
    ("state", "now", "progress"),
    [
        (JobState.QUEUED, 1000.0, 0),
        (JobState.IN_PROGRESS, 100.5, 0),
        (JobState.IN_PROGRESS, 160.5, 50),
        (JobState.IN_PROGRESS, 9000.0, 95),
        (JobState.IN_PROGRESS, 0.0, 0),
    ],
)
def test_progress_grows_with_time_and_reaches_100_only_at_the_end(state, now, progress):
    written = write.video(job(state=state), now)
    assert (written.status, written.progress, written.expires_at) == (state.value, progress, None)


def test_a_text_instead_of_a_video_is_a_failure_with_that_text():
    written = write.video(done(Text(text=" I can't do that. ")), 160.0)
    assert (written.status, written.error.code, written.error.message) == (
        "failed",
        "content_filter",
        "I can't do that.",
    )
    assert written.expires_at is None
    assert write.video(done(), 160.0).error.message == "The model made no video."


def test_a_failed_job_shows_its_error():
    failed = job(state=JobState.FAILED, completed=150.0, error=JobError(code="upstream_timeout", message="late"))
    written = write.video(failed, 160.0)
    assert (written.status, written.error.code, written.error.message) == ("failed", "upstream_timeout", "late")


def test_a_list_names_its_first_and_last_id():
    listed = write.videos([job(), done()], 160.0, more=True)
    assert (listed.first_id, listed.last_id, listed.has_more, len(listed.data)) == ("video_1", "video_1", True, 2)
    assert write.videos([], 160.0, more=False).first_id is None
