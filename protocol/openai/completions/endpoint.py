"""The endpoint `POST /completions`: each prompt is one message of a chat, and each text of the answer a turn."""

import secrets
from functools import partial

import msgspec

from protocol.http import ignored
from protocol.http.body import read_json
from protocol.http.context import RequestContext, caller_of
from protocol.http.operation import Answer, Operation
from protocol.http.option_fields import bounded_options, with_sampling
from protocol.http.side_by_side import Numbered, Replies, fold_each, openings_of, side_by_side
from protocol.model import Engine, Selection
from protocol.openai.chat.write import Head, Rendering
from protocol.openai.completions import read, wire
from protocol.openai.completions.write import TextChoice, TextCompletionWriter


async def _answer(
    engine: Engine, body: wire.CompletionRequest, selection: Selection, context: RequestContext
) -> Answer[Numbered, Replies]:
    applied = engine.applies(selection)
    notices = ignored.Notices(partial(read.ignored_fields, body), context.api, applied)
    prompts, bounds, count = read.prompts_of(body), read.bounds_of(body), body.n or 1
    options = with_sampling(bounded_options(bounds), body, applied)
    asked = [read.request_of(body, prompt, selection, context) for prompt in prompts]
    requests = [msgspec.structs.replace(one, options=options) for one in asked]
    head = Head(id=f"cmpl-{secrets.token_hex(14)}", created=int(context.created), model=selection.id)
    choices = [
        TextChoice(Rendering(context.links, caller_of(context)), prompt if body.echo else "")
        for prompt in prompts
        for _ in range(count)
    ]
    usage_in_stream = bool(body.stream_options and body.stream_options.include_usage)
    return Answer(
        request=requests[0],
        exchange=side_by_side([one for request in requests for one in openings_of(engine, request, bounds, count)]),
        writer=TextCompletionWriter(head, choices, include_usage=usage_in_stream),
        fold=fold_each,
        streamed=bool(body.stream),
        notices=notices,
    )


CREATE = Operation(
    read=lambda request: read_json(request, wire.decode_completion),
    select=lambda body, catalogue, _caller: catalogue.resolve(body.model),
    answer=_answer,
)
