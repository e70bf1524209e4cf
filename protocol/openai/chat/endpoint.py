"""The endpoints `POST /chat/completions` and `GET /chat/completions/{id}`.

The second one fetches a long-running completion by its id. The response is sent when the completion is finished. If no
request is running the completion, this one resumes it; if another request is, on this machine or another, this one
waits for it.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import msgspec

from protocol.http import ignored
from protocol.http.body import read_json
from protocol.http.context import RequestContext, caller_of, context_of
from protocol.http.errors import HttpError
from protocol.http.long_running import open_stored, opened
from protocol.http.operation import Answer, Operation
from protocol.http.side_by_side import fold_each, openings_of, side_by_side
from protocol.model import (
    Engine,
    Event,
    Exchange,
    Finish,
    Job,
    JobKind,
    Reply,
    Rewritten,
    Selection,
    Served,
    UpstreamModel,
    UpstreamTimeout,
    fold,
)
from protocol.openai.chat import read, wire, write
from protocol.openai.chat.write import Rendering

_LOOK_SECONDS = 1.0
_PATIENCE_SECONDS = 1800.0
"""The longest wait for a completion that another request runs; a completion that is resumed here is not limited."""


async def _answer(
    engine: Engine, body: wire.ChatRequest, selection: Selection, context: RequestContext
) -> Answer[Any, Any]:
    pictures = read.read_pictures(body, selection, context)
    applied = engine.applies(selection)
    notices = ignored.Notices(
        lambda options: [*read.ignored_fields(body, selection, options), *pictures.ignored], context.api, applied
    )
    choices = read.choices(body, selection, pictures)
    bounds = read.bounds(body)
    options = read.read_options(body, bounds, selection, applied)
    request = await read.read(body, selection, engine.catalogue, context, pictures)
    request = msgspec.structs.replace(request, options=options)
    head = write.Head.new(selection.id, context.created)
    usage_in_stream = bool(body.stream_options and body.stream_options.include_usage)
    offered = None if request.tools is None else "tools" if body.tools else "functions"
    rendering = partial(Rendering, context.links, request.caller, pictures.image_format)
    if choices > 1:
        return Answer(
            request=request,
            exchange=side_by_side(openings_of(engine, request, bounds, choices)),
            writer=write.ChoicesWriter(
                head, [rendering() for _ in range(choices)], include_usage=usage_in_stream, offered=offered
            ),
            fold=fold_each,
            streamed=request.streamed,
            notices=notices,
        )
    return Answer(
        request=request,
        exchange=opened(engine, context, request, bounds, head.id),
        writer=write.CompletionWriter(head, rendering(), include_usage=usage_in_stream, offered=offered),
        fold=fold,
        streamed=request.streamed,
        notices=notices,
    )


CREATE = Operation(
    read=lambda request: read_json(request, wire.decode_request),
    select=read.select,
    answer=_answer,
)


async def _find(context: RequestContext, identity: str) -> Job:
    job = await context.jobs.find(caller_of(context).owner, JobKind.CHAT, identity)
    if job is None:
        raise HttpError(404, "not_found", "No stored completion has this id: create it again.")
    return job


async def _retrieved(engine: Engine, job: Job, _: Selection, context: RequestContext) -> Answer[Event, Reply]:
    head = write.Head(id=job.id, created=int(job.created), model=job.model)
    writer = write.CompletionWriter(head, Rendering(context.links, caller_of(context)))
    exchange = _finished(engine, context, job.id)
    return Answer(request=job.request, exchange=exchange, writer=writer, fold=fold, streamed=False)


@asynccontextmanager
async def _finished(engine: Engine, context: RequestContext, identity: str) -> AsyncGenerator[Exchange]:
    """Yield a completion's stored answer, or resume it if no other request does."""
    end = anyio.current_time() + _PATIENCE_SECONDS
    while anyio.current_time() < end:
        async with context.jobs.hold(identity) as mine:
            job = await _find(context, identity)
            if job.reply is not None:
                yield _exchange_of(job, job.reply)
                return
            if mine:
                request = msgspec.structs.replace(
                    job.request, id=context.id, caller=caller_of(context), handle=job.handle
                )
                job = msgspec.structs.replace(job, request=request)
                async with open_stored(engine, context.jobs, job, held=True) as exchange:
                    yield exchange
                return
        await anyio.sleep(_LOOK_SECONDS)
    raise UpstreamTimeout("The completion is not finished yet: fetch it again later.")


def _exchange_of(job: Job, reply: Reply) -> Exchange:
    """Return a stored answer as an exchange, whose one event carries all of it."""
    transport, account = (job.handle.transport, job.handle.account) if job.handle is not None else ("", "")
    answered = UpstreamModel(name=job.upstream_model) if job.upstream_model else None
    served = Served(transport=transport, account=account, answered=answered)
    whole = Rewritten(pieces=reply.pieces, thoughts=reply.thoughts, reason=reply.finish, usage=reply.usage)

    async def events() -> AsyncGenerator[Event]:
        yield Finish(reason=reply.finish, usage=reply.usage, rewritten=whole)

    return Exchange(lambda: served, events())


RETRIEVE = Operation(
    read=lambda request: _find(context_of(request.scope), request.path_params["completion"]),
    select=lambda job, _catalogue, _caller: job.request.selection,
    answer=_retrieved,
)
