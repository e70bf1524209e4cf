"""The endpoints `POST /messages` and `POST /messages/count_tokens`."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.anthropic import read, wire
from protocol.anthropic.tool_fields import json_output, tool_choice
from protocol.anthropic.write import FRAMING, MessageWriter
from protocol.http.body import encode_json, read_json
from protocol.http.context import RequestContext, caller_of, context_of
from protocol.http.errors import ASGIResponse
from protocol.http.markdown import MarkdownText
from protocol.http.operation import Answer, Operation
from protocol.http.stop import bounded
from protocol.model import Engine, Event, Reply, Selection, estimate_tokens, fold

_SHOWING = frozenset({"enabled", "adaptive"})


async def _answer(
    engine: Engine, body: wire.CreateMessage, selection: Selection, context: RequestContext
) -> Answer[Event, Reply]:
    request = await read.read(body, selection, engine.catalogue, context)
    thinking = body.thinking
    writer = MessageWriter(
        selection.id,
        MarkdownText(context.links, request.caller),
        thinking=thinking is not None and thinking.type in _SHOWING and thinking.display != "omitted",
        input_tokens=sum(estimate_tokens(turn.text) for turn in request.turns),
    )
    exchange = bounded(engine, request, read.bounds(body))
    return Answer(
        request=request, exchange=exchange, writer=writer, fold=fold, streamed=request.streamed, framing=FRAMING
    )


CREATE = Operation(
    read=lambda request: read_json(request, wire.decode_create),
    select=lambda body, catalogue, _caller: catalogue.resolve(body.model),
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
        """Return the tokens of the texts, tools and schema; files are not counted."""
        context = context_of(request.scope)
        body = await read_json(request, wire.decode_count)
        selection = self._engine.catalogue.resolve(body.model)
        caller_of(context).permit(selection)
        context.record.model = selection.id
        choice, output = tool_choice(body), json_output(body)
        texts = [text for message in read.MessageReader().messages(body) for text in message.texts]
        texts += [msgspec.json.encode(tool).decode() for tool in (choice.tools if choice is not None else ())]
        texts += [msgspec.json.encode(output).decode()] if output is not None else []
        count = TokenCount(input_tokens=sum(map(estimate_tokens, texts)))
        return Response(encode_json(count), media_type="application/json")
