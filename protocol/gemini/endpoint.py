"""The endpoints `:generateContent`, `:streamGenerateContent` and `:countTokens` of a model."""

import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.gemini import read, wire
from protocol.gemini.candidate_parts import AnswerForm
from protocol.gemini.candidate_wire import CountedTokens
from protocol.gemini.deliver import WholeAnswer, collect_answer, delivered, fetch_picture
from protocol.gemini.functions import is_enum
from protocol.gemini.write import ARRAY_FRAMING, SSE_FRAMING, GeminiWriter
from protocol.http import ignored
from protocol.http.body import encode_json, read_json
from protocol.http.context import RequestContext, caller_of, context_of
from protocol.http.errors import ASGIResponse
from protocol.http.long_running import opened
from protocol.http.markdown import MarkdownText
from protocol.http.operation import Answer, Operation
from protocol.http.side_by_side import openings_of, side_by_side
from protocol.http.stream import Steps
from protocol.http.withhold import withholding
from protocol.model import Capability, Engine, Selection, prompt_tokens


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request with what its URL says."""

    model: str
    body: wire.GenerateRequest
    streamed: bool
    is_array: bool


async def read_asked(request: Request, *, streamed: bool) -> Asked:
    """Read the body and the URL of a request."""
    body = await read_json(request, wire.decode_generate)
    query = parse_qs(context_of(request.scope).query.decode("latin-1"))
    forms = {form.lower() for name in ("alt", "$alt") for form in query.get(name, ())}
    model = request.path_params["model"]
    return Asked(model=model, body=body, streamed=streamed, is_array=streamed and "sse" not in forms)


async def _answer(
    engine: Engine, asked: Asked, selection: Selection, context: RequestContext
) -> Answer[Any, WholeAnswer]:
    config, caller = asked.body.generation_config, caller_of(context)
    pictures = read.read_pictures(config, selection, context.query)
    applied = engine.applies(selection)
    notices = ignored.Notices(
        lambda options: [*read.ignored_fields(config, selection, options), *pictures.ignored], context.api, applied
    )
    options = read.read_options(asked.body, selection, applied)
    count = read.candidates(config, selection)
    request = await read.read(asked.body, selection, engine.catalogue, context, pictures, streamed=asked.streamed)
    request = msgspec.structs.replace(request, options=options)
    form = AnswerForm(
        model=selection.id,
        thoughts=bool(config.thinking_config.include_thoughts),
        is_enum=is_enum(config) and request.output is not None,
        is_array=asked.is_array,
    )
    fetch = partial(fetch_picture, engine, pictures.image_format, context)
    identity, bounds = secrets.token_urlsafe(16), read.bounds(config)
    exchange: AbstractAsyncContextManager[Steps[Any]] = (
        opened(engine, context, request, bounds, identity)
        if count == 1
        else side_by_side(openings_of(engine, request, bounds, count))
    )
    contents = [MarkdownText(context.links, caller, pictures.image_format) for _ in range(count)]
    return Answer(
        request=request,
        exchange=delivered(withholding(exchange, caller), context, fetch if asked.streamed else None),
        writer=GeminiWriter(form, contents, identity),
        fold=partial(collect_answer, fetch),
        streamed=asked.streamed,
        notices=notices,
        framing=ARRAY_FRAMING if asked.is_array else SSE_FRAMING,
    )


def _operation(*, streamed: bool) -> Operation[Asked]:
    return Operation(
        read=partial(read_asked, streamed=streamed),
        select=lambda asked, catalogue, caller: read.select(
            asked.model, asked.body.generation_config, catalogue, caller
        ),
        answer=_answer,
        own=(Capability.SPEECH, Capability.TRANSCRIPTION),
    )


GENERATE, STREAM = _operation(streamed=False), _operation(streamed=True)


def count_tokens(engine: Engine) -> Callable[[Request], Awaitable[ASGIResponse]]:
    """Return the handler of `:countTokens`: it estimates the tokens of a request, as its answer has them."""

    async def count(request: Request) -> ASGIResponse:
        context = context_of(request.scope)
        caller = caller_of(context)
        body = await read_json(request, wire.decode_count)
        selection = engine.catalogue.with_aliases(caller.aliases).resolve(request.path_params["model"])
        caller.permit(selection)
        context.record.model = selection.id
        counted = body.counted
        pictures = read.read_pictures(counted.generation_config, selection)
        asked = await read.read(counted, selection, engine.catalogue, context, pictures, streamed=False)
        count = CountedTokens(total_tokens=prompt_tokens(asked))
        return Response(encode_json(count), media_type="application/json")

    return count
