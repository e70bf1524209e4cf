"""The endpoints below `/responses`."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.http import ignored
from protocol.http.body import encode_json, read_json
from protocol.http.context import RequestContext, caller_of, context_of
from protocol.http.conversation import read_turns
from protocol.http.errors import ASGIResponse, HttpError
from protocol.http.files import reserve_to_store
from protocol.http.long_running import opened
from protocol.http.operation import Accepted, Answer, Operation
from protocol.http.stop import Bounds, bounded
from protocol.http.stream import EventStream
from protocol.model import (
    BadRequest,
    Caller,
    Capability,
    Catalogue,
    Engine,
    Job,
    JobKind,
    Selection,
)
from protocol.openai.errors import error_response
from protocol.openai.reasoning_effort import with_effort
from protocol.openai.responses import read, wire
from protocol.openai.responses.background import BackgroundSteps, state_of
from protocol.openai.responses.listing import input_page
from protocol.openai.responses.maker import ResponseMaker, with_pictures
from protocol.openai.responses.offered_tools import read_tools
from protocol.openai.responses.output_wire import (
    DeletedResponse,
    InputItems,
    ModelResponse,
)
from protocol.openai.responses.state import StoredResponse, named_input, save
from protocol.openai.responses.write import ResponseStep, ResponseWriter, WholeResponseReply, last_step

ResponseAnswer = Answer[ResponseStep, WholeResponseReply]


def _select(body: wire.ResponseRequest, catalogue: Catalogue, caller: Caller) -> Selection:
    """Return the model; a base draws if the client requires the tool that draws, and thinks longer by its effort."""
    selection = catalogue.resolve(body.model)
    offered = any(tool.type == "image_generation" for tool in body.tools or ())
    if offered and selection.capability is Capability.CHAT and read_tools(body).draws:
        return msgspec.structs.replace(selection, capability=Capability.IMAGEN, extended=False)
    return with_effort(selection, body.reasoning.effort if body.reasoning is not None else None, caller)


async def _answer(
    engine: Engine, body: wire.ResponseRequest, selection: Selection, context: RequestContext
) -> ResponseAnswer | Accepted:
    read.refuse_unsupported(body)
    tools = read_tools(body)
    applied = engine.applies(selection)
    options = read.read_options(body, tools, selection, applied)
    undrawn = tools.pictures.ignored if tools.pictures is not None else ()
    notices = ignored.Notices(
        lambda options: [*read.ignored_fields(body, selection, options), *undrawn], context.api, applied
    )
    state = state_of(engine, context)
    own = await state.resolved(read.items_of(body))
    placed = [read.PlacedItem(item, f"input[{index}]") for index, item in enumerate(own)]
    conversation = [*await state.history(body.previous_response_id or None), *placed]
    messages = read.messages_of(conversation, body.instructions, tools.names)
    turns = await read_turns(messages, selection, engine.catalogue, context)
    del conversation, messages
    state.drop()
    request = msgspec.structs.replace(read.read(body, turns, tools, selection, context), options=options)
    response = read.new_response(body, selection, context)
    stored = StoredResponse(
        response=response,
        input=named_input(response.id, own),
        pictures=tools.pictures.image_format if tools.pictures is not None else None,
    )
    if response.background:
        await reserve_to_store(turns, context)
        await save(context, stored)
        job = Job(id=response.id, kind=JobKind.RESPONSE, request=request, model=response.model, created=context.created)
        await context.jobs.submit(job)
        if not body.stream:
            return Accepted(request=request, response=_json(response))
        steps = BackgroundSteps(engine, context, stored)
        return Answer(
            request=request,
            exchange=steps.opened(),
            writer=steps.writer,
            fold=last_step,
            streamed=True,
            notices=notices,
        )
    maker = ResponseMaker(engine, context, stored)
    bounds = Bounds(tokens=body.max_output_tokens)
    stores = response.store
    exchange = opened(engine, context, request, bounds, response.id) if stores else bounded(engine, request, bounds)
    return Answer(
        request=request,
        exchange=maker.opened(exchange, streamed=bool(body.stream)),
        writer=ResponseWriter(maker.builder),
        fold=last_step,
        streamed=bool(body.stream),
        notices=notices,
    )


CREATE = Operation(
    read=lambda request: read_json(request, wire.decode_request),
    select=_select,
    answer=_answer,
)


class RetrievedResponses:
    """Serves the stored responses of a license."""

    def __init__(self, engine: Engine) -> None:
        """Open pictures with `engine`."""
        self._engine = engine

    async def retrieve(self, request: Request) -> ASGIResponse:
        """Return a response of the caller, finished or not; one in the background also as a stream."""
        context = context_of(request.scope)
        stored = await self._find(request, context)
        if request.query_params.get("stream", "").lower() == "true":
            return self._streamed(stored, request, context)
        return _json(await with_pictures(self._engine, context, stored))

    async def delete(self, request: Request) -> ASGIResponse:
        """Delete a response of the caller, and stop its job if it runs."""
        context, identity = context_of(request.scope), request.path_params["response"]
        owner = caller_of(context).owner
        await context.jobs.remove(owner, JobKind.RESPONSE, identity)
        if not await context.responses.remove(owner, identity):
            raise _unknown()
        return _json(DeletedResponse(id=identity))

    async def cancel(self, request: Request) -> ASGIResponse:
        """Stop a response in the background; one that has ended stays as it is."""
        context = context_of(request.scope)
        stored = await self._find(request, context)
        if not stored.response.background:
            raise BadRequest("Only a response with 'background' can be cancelled.", code="not_cancellable")
        if not stored.finished:
            cancelled = msgspec.structs.replace(stored.response, status="cancelled")
            stored = msgspec.structs.replace(stored, response=cancelled)
            await save(context, stored)  # first, so that a stream of it does not take it for expired
            await context.jobs.remove(caller_of(context).owner, JobKind.RESPONSE, stored.response.id)
        return _json(await with_pictures(self._engine, context, stored))

    async def input_items(self, request: Request) -> ASGIResponse:
        """Return a page of the input of a response."""
        stored = await self._find(request, context_of(request.scope))
        return _json(input_page(stored.input, request.query_params))

    async def _find(self, request: Request, context: RequestContext) -> StoredResponse:
        stored = await state_of(self._engine, context).find(request.path_params["response"])
        if stored is None:
            raise _unknown()
        return stored

    def _streamed(self, stored: StoredResponse, request: Request, context: RequestContext) -> ASGIResponse:
        """Return the events of a response in the background, from its job."""
        after = request.query_params.get("starting_after", "-1")
        if not stored.response.background:
            raise BadRequest("Only a response with 'background' can be streamed again.", param="stream")
        if not after.removeprefix("-").isdecimal():
            raise BadRequest("'starting_after' must be the number of an event.", param="starting_after")
        steps = BackgroundSteps(self._engine, context, stored, int(after))
        return EventStream(steps.opened(), steps.writer, error_response, [])


def _unknown() -> HttpError:
    return HttpError(404, "not_found", "No stored response has this id: it has expired, or had 'store': false.")


def _json(value: ModelResponse | DeletedResponse | InputItems) -> Response:
    return Response(encode_json(value), media_type="application/json")
