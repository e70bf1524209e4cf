"""The endpoints `POST /chat/completions` and `GET /chat/completions/{id}`.

The second one fetches a long-running completion by its id. The response is sent when the completion is finished. If no
request is running the completion, this one resumes it; if another request is, on this machine or another, this one
waits for it.
"""

from functools import partial
from typing import Any

import msgspec

from protocol.http import ignored
from protocol.http.body import read_json
from protocol.http.context import RequestContext, caller_of, context_of
from protocol.http.long_running import find_stored, open_earlier, opened
from protocol.http.operation import Answer, Operation
from protocol.http.side_by_side import fold_each, openings_of, side_by_side
from protocol.model import (
    Engine,
    Event,
    Job,
    Reply,
    Selection,
    fold,
)
from protocol.openai.chat import read, wire, write
from protocol.openai.chat.write import Rendering

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


async def _retrieved(engine: Engine, job: Job, _: Selection, context: RequestContext) -> Answer[Event, Reply]:
    head = write.Head(id=job.id, created=int(job.created), model=job.model)
    writer = write.CompletionWriter(head, Rendering(context.links, caller_of(context)))
    exchange = open_earlier(engine, context, job.id)
    return Answer(request=job.request, exchange=exchange, writer=writer, fold=fold, streamed=False)


RETRIEVE = Operation(
    read=lambda request: find_stored(context_of(request.scope), request.path_params["completion"]),
    select=lambda job, _catalogue, _caller: job.request.selection,
    answer=_retrieved,
)
