"""The endpoints below `/videos`: jobs that run in the background, stored under their id and license."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from protocol.http.body import encode_json
from protocol.http.context import RequestContext, caller_of, context_of
from protocol.http.download import Content, Download
from protocol.http.errors import ASGIResponse, HttpError
from protocol.http.fallback import stand_ins
from protocol.http.files import reserve_to_store
from protocol.http.form import Upload, read_fields
from protocol.http.operation import Accepted, Operation
from protocol.model import (
    BadRequest,
    Engine,
    Feature,
    Job,
    JobKind,
    MediaRef,
    MediaStream,
    Selection,
    UpstreamFailed,
    not_offered,
)
from protocol.openai.errors import error_response
from protocol.openai.videos import read, wire, write

_HEADERS = {"cache-control": "private, max-age=3600", "x-content-type-options": "nosniff"}


Body = tuple[wire.VideoRequest, Upload | None]


async def _create(engine: Engine, body: Body, selection: Selection, context: RequestContext) -> Accepted:
    return await _submitted(engine, selection, context, partial(read.read, *body, selection, context))


async def _remix(
    engine: Engine, body: tuple[Job, wire.RemixRequest], selection: Selection, context: RequestContext
) -> Accepted:
    async def job() -> Job:
        return read.remix_of(body[0], body[1].prompt, context)

    return await _submitted(engine, selection, context, job)


async def _submitted(
    engine: Engine, selection: Selection, context: RequestContext, job_of: Callable[[], Awaitable[Job]]
) -> Accepted:
    if not any(map(engine.offers, (selection, *stand_ins(engine, selection, caller_of(context))))):
        raise not_offered(selection)
    job = await job_of()
    await reserve_to_store(job.request.turns, context)
    await context.jobs.submit(job)
    return Accepted(request=job.request, response=_response(write.video(job, context.created)))


CREATE = Operation(
    read=read.read_body_of,
    select=lambda body, catalogue, caller: read.select(body[0].model, catalogue, caller),
    answer=_create,
)


async def _read_remix(request: Request) -> tuple[Job, wire.RemixRequest]:
    earlier = await _permitted(request, context_of(request.scope))
    body, _ = await read_fields(request, wire.REMIXES, ())
    return earlier, body


REMIX = Operation(read=_read_remix, select=lambda body, _catalogue, _caller: body[0].request.selection, answer=_remix)


class StoredVideos:
    """Serves the videos of a license, finished or not."""

    def __init__(self, engine: Engine) -> None:
        """Open media with `engine`."""
        self._engine = engine

    async def list(self, request: Request) -> ASGIResponse:
        """Return a page of the caller's videos."""
        context = context_of(request.scope)
        caller_of(context).permit_feature(Feature.VIDEO)
        page = read.page(request.query_params)
        jobs, more = await context.jobs.page(caller_of(context).owner, JobKind.VIDEO, page)
        return _response(write.videos(jobs, context.created, more=more))

    async def retrieve(self, request: Request) -> ASGIResponse:
        """Return a video of the caller."""
        context = context_of(request.scope)
        job = await _permitted(request, context)
        context.record.upstream_model = job.upstream_model or None
        return _response(write.video(job, context.created))

    async def delete(self, request: Request) -> ASGIResponse:
        """Delete a video of the caller, and stop its job if it runs; the license need not include videos any more."""
        context = context_of(request.scope)
        identity = request.path_params["video"]
        if not await context.jobs.remove(caller_of(context).owner, JobKind.VIDEO, identity):
            raise _unknown()
        return _response(wire.VideoDeleted(id=identity))

    async def content(self, request: Request) -> ASGIResponse:
        """Send the video file."""
        context = context_of(request.scope)
        if request.query_params.get("variant") not in {None, "", "video"}:
            message = "Only the variant 'video' is available: the site has no thumbnails or sprite sheets."
            raise BadRequest(message, param="variant", code="unsupported_value")
        job = await _permitted(request, context)
        film = write.film(job)
        if film is None:
            error = write.video(job, context.created).error
            if error is not None:
                raise HttpError(404, "not_found", f"The video failed: {error.message}")
            message = "The video is not ready yet: poll its status until it is 'completed'."
            raise HttpError(409, "video_not_ready", message)
        return Download(
            self._media(film), Content(etag=sha256(job.id.encode()).hexdigest()[:32], headers=_HEADERS), error_response
        )

    @asynccontextmanager
    async def _media(self, film: MediaRef) -> AsyncGenerator[MediaStream]:
        async with self._engine.media(film) as stream:
            if not stream.mime.startswith("video/"):
                raise UpstreamFailed("The upstream sent a file that is not a video.")
            yield stream


async def _permitted(request: Request, context: RequestContext) -> Job:
    """Return a video of the caller.

    Raises:
        HttpError: there is none (404).
        Forbidden: the license no longer covers it.

    """
    caller = caller_of(context)
    job = await context.jobs.find(caller.owner, JobKind.VIDEO, request.path_params["video"])
    if job is None:
        raise _unknown()
    caller.permit(job.request.selection)
    return job


def _unknown() -> HttpError:
    return HttpError(404, "not_found", "No video has this id: list the videos at '/v1/videos'.")


def _response(value: wire.Video | wire.VideoList | wire.VideoDeleted) -> Response:
    return Response(encode_json(value), media_type="application/json")
