"""The endpoint `GET /chat/completions/{id}`: fetches a long-running completion by its id.

The response is sent when the completion is finished. If no request is running the completion, this one resumes it; if
another request is, on this machine or another, this one waits for it.
"""

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.http.context import RequestContext, caller_of, context_of
from protocol.http.endpoint import ASGIResponse
from protocol.http.errors import HttpError
from protocol.http.response import WholeResponse
from protocol.model import Caller, Engine, Job, JobKind, Reply, UpstreamTimeout, fold
from protocol.openai.chat import write
from protocol.openai.chat.opening import opened_and_kept
from protocol.openai.chat.rendering import Rendering
from protocol.openai.errors import error_response

_LOOK_SECONDS = 1.0
_PATIENCE_SECONDS = 1800.0
"""The longest wait for a completion that another request runs."""


class Completions:
    """Serves stored completions."""

    def __init__(self, engine: Engine) -> None:
        """Resume completions with `engine`."""
        self._engine = engine

    async def retrieve(self, request: Request) -> ASGIResponse:
        """Return a completion of the caller when it is finished.

        Raises:
            HttpError: the caller has no completion with this id (404).
            Forbidden: the license no longer covers the model.

        """
        context = context_of(request.scope)
        caller = caller_of(context)
        job = await _find(context, caller, request.path_params["completion"])
        caller.permit(job.request.selection, job.model)
        context.record.model = job.model

        async def work() -> ASGIResponse:
            with anyio.move_on_after(_PATIENCE_SECONDS):
                reply = await self._reply(context, caller, job.id)
                context.record.note_usage(reply.usage)
                head = write.Head(id=job.id, created=int(job.created), model=job.model)
                whole = write.completion(reply, head, Rendering(context.links, caller))
                return Response(whole, media_type="application/json")
            raise UpstreamTimeout("The completion is not finished yet: fetch it again later.")

        return WholeResponse(work, error_response)

    async def _reply(self, context: RequestContext, caller: Caller, identity: str) -> Reply:
        while True:
            async with context.jobs.hold(identity) as mine:
                job = await _find(context, caller, identity)
                context.record.upstream_model = job.upstream_model or None
                if job.reply is not None:
                    return job.reply
                if mine:
                    return await self._resume(context, job)
            await anyio.sleep(_LOOK_SECONDS)

    async def _resume(self, context: RequestContext, job: Job) -> Reply:
        request = msgspec.structs.replace(job.request, id=context.id, handle=job.handle)
        job = msgspec.structs.replace(job, request=request)
        async with opened_and_kept(self._engine, context.jobs, job, held=True) as exchange:
            try:
                return await fold(exchange)
            finally:
                context.record.note_served(exchange.served)


async def _find(context: RequestContext, caller: Caller, identity: str) -> Job:
    job = await context.jobs.find(caller.id, JobKind.CHAT, identity)
    if job is None:
        raise HttpError(404, "not_found", "No stored completion has this id: create it again.")
    return job
