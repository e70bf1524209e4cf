"""Converts jobs to OpenAI's video objects."""

from collections.abc import Sequence

from protocol.model import Job, JobState, MediaKind, MediaRef
from protocol.openai.videos import wire

_USUAL_SECONDS = 120.0
"""The usual time for a video, to estimate its progress: the upstream reports none."""
_NEARLY = 95
_MESSAGE_SHOWN = 500


def video(job: Job, now: float) -> wire.Video:
    """Return a job in OpenAI's form; `now` is in epoch seconds."""
    error: wire.VideoError | None = None
    if job.error is not None:
        error = wire.VideoError(code=job.error.code, message=job.error.message)
    elif job.reply is not None and film(job) is None:  # the model declined with a text
        message = job.reply.text.strip()[:_MESSAGE_SHOWN] or "The model made no video."
        error = wire.VideoError(code="content_filter", message=message)
    progress = 0
    if job.state is JobState.COMPLETED:
        progress = 100
    elif job.state is JobState.IN_PROGRESS:  # an estimate from the elapsed time
        progress = max(0, min(_NEARLY, int(100 * (now - job.created) / _USUAL_SECONDS)))
    status: wire.Status = "failed" if error else job.state.value
    return wire.Video(
        id=job.id,
        model=job.model,
        status=status,
        progress=progress,
        created_at=int(job.created),
        completed_at=int(job.completed) if job.completed is not None else None,
        expires_at=int(job.expires) if job.expires is not None and status == "completed" else None,
        size=job.details.get("size", ""),
        seconds=job.details.get("seconds", ""),
        prompt=job.details.get("prompt", ""),
        remixed_from_video_id=job.details.get("remixed_from"),
        error=error,
    )


def videos(jobs: Sequence[Job], now: float, *, more: bool) -> wire.VideoList:
    """Return jobs in OpenAI's form."""
    return wire.VideoList(
        data=[video(job, now) for job in jobs],
        first_id=jobs[0].id if jobs else None,
        last_id=jobs[-1].id if jobs else None,
        has_more=more,
    )


def film(job: Job) -> MediaRef | None:
    """Return the video of a job, or None."""
    media = job.reply.media if job.reply is not None else ()
    return next((piece.ref for piece in media if piece.ref.kind is MediaKind.VIDEO), None)
