"""`GET /chat/completions/{id}`: a completion whose work takes minutes, picked up by its id.

It answers when the completion is whole. Where nobody is at work on it, whoever asks goes on with it; where somebody
is, on this machine or another, it waits for them.
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
"""So long for what somebody else is at work on."""


class Completions:
    """Completions that were kept."""

    def __init__(self, engine: Engine) -> None:
        """Take the engine."""
        self._engine = engine

    async def retrieve(self, request: Request) -> ASGIResponse:
        """Answer with a completion of the caller's, once it is whole.

        Raises:
            HttpFault: there is none of this id, or it is another's (404).
            Forbidden: the license does not cover it any more.

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
            raise UpstreamTimeout("The completion is not whole yet: ask for it again later.")

        return WholeResponse(work, error_response)

    async def _reply(self, context: RequestContext, caller: Caller, identity: str) -> Reply:
        while True:
            async with context.jobs.hold(identity) as mine:
                job = await _find(context, caller, identity)
                context.record.upstream_model = job.upstream_model or None
                if job.reply is not None:
                    return job.reply
                if mine:
                    return await self._go_on(context, job)
            await anyio.sleep(_LOOK_SECONDS)

    async def _go_on(self, context: RequestContext, job: Job) -> Reply:
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
        raise HttpError(404, "not_found", "There is no completion of this id that is kept.")
    return job
