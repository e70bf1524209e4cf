"""The endpoints `POST /messages` and `POST /messages/count_tokens`."""

import secrets
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.anthropic import read, wire
from protocol.anthropic.write import FRAMING, MessageContext, MessageWriter
from protocol.http import ignored
from protocol.http.body import encode_json, read_json
from protocol.http.context import RequestContext, caller_of, context_of
from protocol.http.errors import ASGIResponse
from protocol.http.long_running import opened
from protocol.http.markdown import MarkdownText
from protocol.http.operation import Answer, Operation
from protocol.model import Engine, Event, Reply, Selection, fold, prompt_tokens

_SHOWING = frozenset({"enabled", "adaptive"})


async def _answer(
    engine: Engine, body: wire.CreateMessage, selection: Selection, context: RequestContext
) -> Answer[Event, Reply]:
    applied = engine.applies(selection)
    notices = ignored.Notices(partial(read.IGNORED.sent, body), context.api, applied)
    options = read.read_options(body, selection, applied)
    request = await read.read(body, selection, engine.catalogue, context)
    request = msgspec.structs.replace(request, options=options)
    thinking = body.thinking
    about = MessageContext(
        id=f"msg_{secrets.token_hex(12)}",
        request_id=context.id,
        thinking=thinking is not None and thinking.type in _SHOWING and thinking.display != "omitted",
        searches=any(tool.type.startswith("web_search_") for tool in body.tools or ()),
        input_tokens=prompt_tokens(request),
    )
    writer = MessageWriter(selection.id, MarkdownText(context.links, request.caller), about)
    exchange = opened(engine, context, request, read.bounds(body), about.id)
    return Answer(
        request=request,
        exchange=exchange,
        writer=writer,
        fold=fold,
        streamed=request.streamed,
        framing=FRAMING,
        notices=notices,
    )


CREATE = Operation(
    read=lambda request: read_json(request, wire.decode_create),
    select=read.select,
    answer=_answer,
)


class TokenCount(msgspec.Struct, frozen=True, kw_only=True):
    """The estimated tokens of a request."""

    input_tokens: int


class TokenCounter:
    """The endpoint that estimates the tokens of a request without sending it to the model."""

    def __init__(self, engine: Engine) -> None:
        """Count for the models of `engine`."""
        self._engine = engine

    async def count(self, request: Request) -> ASGIResponse:
        """Return the estimate, as `input_tokens`."""
        context = context_of(request.scope)
        caller = caller_of(context)
        body = await read_json(request, wire.decode_count)
        selection = self._engine.catalogue.with_aliases(caller.aliases).resolve(body.model)
        caller.permit(selection)
        context.record.model = selection.id
        asked = await read.read(body, selection, self._engine.catalogue, context)
        count = TokenCount(input_tokens=prompt_tokens(asked))
        return Response(encode_json(count), media_type="application/json")
